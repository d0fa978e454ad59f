"""Render reports and capture sessions for notebooks; imported by ``heedful.showing.drawing`` when the first one is
displayed.

Render a report and a head table as notebook HTML: escaped, with inline styles and no script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from heedful.contract.page import lines
from heedful.evaluation.page.terminal import terminal_lines
from heedful.reporting.escape import visible
from heedful.reporting.paragraph import Line, sheet
from heedful.reporting.pattern_chart import pattern_chart

if TYPE_CHECKING:
    import altair

    from heedful.contract.record import ContractReport
    from heedful.evaluation.result import Report
    from heedful.interception.session import Session


__all__ = ["contract_text", "head_pattern", "report_html", "session_html"]

COLUMNS = ("effective_keys", "visible_share", "max_weight", "previous_mass", "sink_mass", "self_mass", "verified")


def contract_text(report: ContractReport) -> str:
    """Return a contract report as text, as ``print`` shows it.

    Args:
        report: What a check found.
    """
    return "\n".join(lines(report))


def session_html(session: Session) -> str:
    """Return HTML with the calls that a session captured, those it missed, and the first heads of its table.

    Args:
        session: The session, while or after its block runs.
    """
    not_captured = [f"not captured: {path}: {why}" for path, why in session.not_captured.items()]
    notes = [*not_captured, *(f"{what}: {why}" for what, why in session.notes.items())]
    name = type(session.model).__name__
    if not session.records:
        return table_html(f"{name}: no attention call was captured yet", [], notes)
    rows = session.heads().to_dicts()
    message = f"{name}: {len(session.records)} attention modules captured, {len(rows)} heads"
    kept = [{"head": row["label"], "module": row["module"], **{key: row.get(key) for key in COLUMNS}} for row in rows]
    return table_html(message, kept, notes)


def head_pattern(session: Session, layer: int | str, head: int, bins: int) -> altair.Chart:
    """Draw the attention weights of one head on the first sequence captured in its layer.

    Args:
        session: The session.
        layer: Layer index or module path.
        head: Head index.
        bins: Most cells of each axis.
    """
    path, found = session.kept.map(layer, head, bins)
    mean = found.mean[0, 0].double().cpu().tolist()
    return pattern_chart(mean, found.query_edges.tolist(), found.key_edges.tolist(), title=f"{path} head {head}")


COLOURS = {"green": "#17803d", "red": "#c02626", "yellow": "#a36a00", "cyan": "#0e7490"}
"""Styles of the terminal page as colours that read on light and dark paper."""
SHOWN = 48
"""Heads shown; the dataframe has them all."""
_PAGE = """\
<div class="heedful"><details><summary><b>{{ title }}</b> {{ conclusion }}</summary>
<pre style="line-height:1.25;overflow-x:auto">{% for line in lines %}{% for text, style in line %}\
{% if style %}<span style="{{ style }}">{{ text }}</span>{% else %}{{ text }}{% endif %}{% endfor %}
{% endfor %}</pre></details></div>"""
_TABLE = """\
<div class="heedful"><p>{{ message }}</p>{% for note in notes %}<p>{{ note }}</p>{% endfor %}{% if rows %}
<table><thead><tr>{% for name in names %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody></table>
{% endif %}</div>"""


def report_html(report: Report) -> str:
    """Return HTML with verdict and conclusion of a report, and its terminal page in a collapsible part.

    Args:
        report: What to show.
    """
    lines = [_styled(line) for line in terminal_lines(report, sheet(80, "utf-8"))]
    name = visible(report.model.get("name") or "unnamed")
    conclusion = visible(report.summary.get("conclusion", ""))
    return _rendered(_PAGE, lines=lines, title=f"{report.verdict}: {name}", conclusion=conclusion)


def table_html(message: str, rows: Sequence[Mapping[str, object]], notes: Sequence[str] = ()) -> str:
    """Return HTML with a sentence, notes, and a table of the first rows.

    Args:
        message: The sentence.
        rows: Name to value, the same names in each.
        notes: Further sentences.
    """
    names = list(rows[0]) if rows else []
    cells = [[_cell(row[name]) for name in names] for row in rows[:SHOWN]]
    more = [f"and {len(rows) - SHOWN} more rows: session.heads()"] if len(rows) > SHOWN else []
    shown = [visible(note) for note in (*notes, *more)]
    return _rendered(
        _TABLE, message=visible(message), notes=shown, names=[name.replace("_", " ") for name in names], rows=cells
    )


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else visible(value)


def _styled(line: Line) -> list[tuple[str, str]]:
    return [(text, _css(style)) for text, style in line]


def _css(style: str) -> str:
    found = []
    for word in style.split():
        if word == "bold":
            found.append("font-weight:bold")
        elif word == "dim":
            found.append("opacity:0.7")
        elif word in COLOURS:
            found.append(f"color:{COLOURS[word]}")
    return ";".join(found)


def _rendered(template: str, **values: object) -> str:
    from jinja2 import Environment, StrictUndefined

    # no loader: the templates are the two above
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(template).render(**values)
