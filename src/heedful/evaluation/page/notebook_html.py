"""Render a report and a head table as notebook HTML: escaped, with inline styles and no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from heedful.evaluation.page.terminal import terminal_lines
from heedful.reporting.escape import visible
from heedful.reporting.paragraph import Line, sheet

if TYPE_CHECKING:
    from heedful.evaluation.result import Report

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
