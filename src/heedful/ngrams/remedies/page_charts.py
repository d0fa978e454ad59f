"""Chart of a suite: each variant's KL divergence relative to equal weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, Figure, chart_of

if TYPE_CHECKING:
    from heedful.ngrams.remedies.record import AblationSuite, Remedy

LEAST, MOST = 1e-3, 1e3
"""Quotients beyond which a variant stands at an edge: exact on the left, certain of the wrong keys on the right."""

ROW = 13
"""Height of a variant."""

WIDTH, LETTER = 430, 6.3


def suite_chart(record: AblationSuite) -> Drawn:
    """Draw each variant's KL over that of equal weights, on a log scale; left of the dashed line at 1 is better.

    Args:
        record: What to draw.
    """
    import altair

    order = [one.name for one in record.remedies]
    base = chart_of([_dot(one) for one in record.remedies])
    scale = altair.Scale(type="log", domainMin=LEAST, clamp=True)
    room = LETTER * max(map(len, order), default=0)  # a reader's font may be wider than the drawing program's
    axis = altair.Axis(labelLimit=200, labelFontSize=10, grid=True, ticks=False, minExtent=room)
    y = altair.Y("variant:N", sort=order, title=None, axis=axis)
    x = altair.X("value:Q", scale=scale, title="KL over that of equal weights (1 = no better), log scale")
    made = altair.layer(
        chart_of([{"at": 1.0}])
        .mark_rule(color="ink", opacity=0.5, strokeDash=[3, 3])
        .encode(x=altair.X("at:Q", scale=scale)),
        base.mark_rule(strokeWidth=1.5, color=BLUE).encode(x=altair.X("low:Q", scale=scale), x2="high:Q", y=y),
        base.mark_point(filled=True, size=42, opacity=1, color=BLUE).encode(x=x, y=y),
    ).properties(width=WIDTH, height=ROW * len(order))
    return Drawn(Figure(name="remedies", title="Remedies, variant by variant", caption="", chart=lambda _: made), made)


def _dot(one: Remedy) -> dict[str, Any]:
    """The quotient of means, and the bounds of the skill, whose other side it is."""
    skill = one.agreement.skill
    low, value, high = (min(MOST, max(LEAST, 1 - bound)) for bound in (skill.high, skill.estimate, skill.low))
    return {"variant": one.name, "value": value, "low": low, "high": high}
