"""Render reports and capture sessions for notebooks; imported by ``heedful.showing.drawing`` when the first one is
displayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heedful.contract.page import lines
from heedful.evaluation.page.notebook_html import report_html, table_html
from heedful.reporting.pattern_chart import pattern_chart

if TYPE_CHECKING:
    import altair

    from heedful.contract.record import ContractReport
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
