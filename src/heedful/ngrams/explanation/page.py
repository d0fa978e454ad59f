"""Page that explains derived attention.

Page sections on queries and keys, and on the decomposition of the affinity matrix.

Line charts of normalised entropy and of skill, per layer, against the standard deviation of the weight matrices.

Charts of attention derived from counts: effect of matrix scale, expected and actual weights, skill by head,
singular values, entropy by position.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, SEQUENTIAL, WIDTH, Figure, Row, chart_of
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.quantity import count, share, small

if TYPE_CHECKING:
    import altair

    from heedful.ngrams.explanation.record import Decomposition, Explanation, Geometry, Scale, ScaledLayer


FIGURES = ("scale_effects",)
"""Names of the page's figures."""


def explanation_page(record: Explanation) -> Page:
    """Build the page of an explanation.

    Args:
        record: What to show.
    """
    subject = (
        f"{record.model}: {count(record.documents, 'piece')} of text, {record.tokens} tokens each. A causal row of "
        f"them has at most {record.ceiling:.3f} nat of entropy on average, rows from the second on; the "
        f"often-quoted ln {record.tokens} holds only for the last row."
        + "".join(f" Note: {one}" for one in record.notes)
    )
    parts = [PagePart(title="Cause", text=record.cause), _own(record), _compared(record)]
    parts += [_sweep(record)] if record.scales else []
    parts.append(geometry_part(record.geometry))
    parts += [] if record.decomposition is None else [decomposition_part(record.decomposition)]
    return Page(title="Why this attention", subject=subject, parts=parts)


def _own(record: Explanation) -> PagePart:
    return PagePart(
        title="As it is, by layer",
        header=("layer", "nats", "of max", "max", "raw", "|logit|", "spread", "class"),
        rows=[
            (f"L{one.layer}", *_focus(one), _size(one.raw), _size(one.logit), _size(one.spread), one.focus)
            for one in record.own.layers
        ],
        text=(
            "nats: entropy, and over what a causal row allows; max: the largest weight. raw: mean |q . k| of bare "
            "embeddings by the layer's first head, which are no logits: those have passed the norm, hold positions "
            "and are scaled. |logit|: mean size of what is softmaxed; spread: its standard deviation in a row. class, "
            "by the share of the maximum: flat above 90 %, mild above 50, focused above 10, else one key."
        ),
    )


def _compared(record: Explanation) -> PagePart:
    rows = []
    for one in record.own.layers:
        low, high = one.divergence.low, one.divergence.high
        rows.append(
            (f"L{one.layer}", _size(one.divergence.estimate), f"[{_size(low)}, {_size(high)}]",
             _size(one.uniform.estimate), _skill(one), share(one.match.estimate),
             "" if one.chance is None else share(one.chance.estimate))
        )  # fmt: skip
    return PagePart(
        title="Compared with what counts predict",
        header=("layer", "KL", "95 %", "KL equal", "skill", "match", "chance"),
        rows=rows,
        text=(
            "KL from the attention that counts predict, by the table of the layer's contexts and each head's skip, "
            "with its interval over pieces; KL to equal weights; skill = 1 - KL / KL(equal weights). match: rows whose "
            "most attended key is among the most expected; chance: the share of visible keys that are. The first "
            f"head would agree best at {record.first_head.factor:.3g} times its logits: KL "
            f"{record.first_head.least:.3f} in place of "
            f"{record.first_head.divergence:.3f}."
        ),
    )


def _focus(one: ScaledLayer) -> tuple[str, str, str]:
    return f"{one.entropy.estimate:.2f}", share(one.share.estimate), f"{one.largest.estimate:.2f}"


def _skill(one: ScaledLayer) -> str:
    return f"{one.skill:+.2f}" if one.skill > -9.995 else f"{one.skill:+.0f}"


def _size(value: float) -> str:
    return f"{value:.1e}" if value >= 999.5 else small(value) if value < 10 else f"{value:.0f}"


def _sweep(record: Explanation) -> PagePart:
    rows = [
        (
            *(f"{scale.std:g} L{one.layer}", *_focus(one), _size(one.raw), _size(one.logit)),
            *(f"{one.match.estimate:.0%}", _skill(one), one.focus),
        )
        for scale in record.scales
        for one in scale.layers
    ]
    return PagePart(
        title="At other scales",
        header=("std", "nats", "of max", "max", "raw", "|logit|", "match", "skill", "class"),
        rows=rows,
        text=_read(record.scales),
        chart=partial(scale_chart, record),
    )


def _read(scales: Sequence[Scale]) -> str:
    best = max(scales, key=lambda one: one.layers[0].skill)
    sharp = [f"{one.std:g}" for one in scales if one.layers[0].share.estimate < 0.5 and one.layers[0].skill < 0]
    message = (
        "Every matrix is brought to one standard deviation, and logits are divided by the root of the head's "
        "dimensions; the columns are those above. Scale makes focus, not agreement: the first layer agrees best at "
        f"{best.std:g} (skill {best.layers[0].skill:+.2f}, class {best.layers[0].focus}). "
    )
    if sharp:
        message += f"Focused and worse than equal weights: {', '.join(sharp)}. "
    if len(scales[0].layers) > 1:
        message += "Deeper layers read what value matrices of earlier ones wrote, which grows with the scale too."
    return message.rstrip()


SYMMETRIC = 1e-6
LEADING = 10


def geometry_part(found: Geometry) -> PagePart:
    """Return the section on queries and keys of the first head.

    Args:
        found: What was measured.
    """
    symmetric = "symmetric" if found.asymmetry <= SYMMETRIC else "not symmetric"
    return PagePart(
        title="Queries compared with keys, first head",
        header=("what", "value", "random"),
        rows=[
            ("largest |A - A^T| over largest |A|", f"{found.asymmetry:.2f}", ""),
            ("e . e' of different tokens, mean", f"{found.similarity[0]:+.4f}", "0"),
            ("  standard deviation", f"{found.similarity[1]:.4f}", f"{found.null:.4f}"),
            ("e . e' with each token's own, mean", f"{found.with_diagonal[0]:+.4f}", f"{found.diagonal_null[0]:.4f}"),
            ("  standard deviation", f"{found.with_diagonal[1]:.4f}", f"{found.diagonal_null[1]:.4f}"),
            ("factors within the embeddings' span", share(found.overlap), share(found.overlap_null)),
            ("directions queries and keys share", share(found.shared), share(found.shared_null)),
            ("|u . v| of the leading factors", " ".join(f"{value:.2f}" for value in found.coincidence), ""),
            ("correlation of scores with A", f"{found.correlation:+.3f}", "0"),
            ("what scores leave of A", share(found.error), "100.0%"),
            *_as_published(found),
        ],
        text=(
            f"A is the affinity: {symmetric}. e: embeddings, and what random ones have. Shared directions: mean "
            "squared cosine between what queries and keys read; u . v: 1 where a query looks for tokens like itself. "
            "Scores are compared, rows centred, and not columns of the matrices: any invertible change between "
            "queries and keys leaves every score as it is and changes every cosine between columns."
        ),
    )


def _as_published(found: Geometry) -> list[tuple[str, str, str]]:
    """W_Q^T W_K and the factors against the embeddings, as a published note prints them."""
    rows = []
    if found.product is not None:
        mean, largest = found.product
        rows.append(("W_Q^T W_K: mean, largest size", f"{mean:+.4f}, {largest:.3f}", ""))
        rows.append(("  its diagonal", " ".join(f"{value:+.3f}" for value in found.product_diagonal), ""))
    if found.factor_means is not None and found.factor_largest is not None:
        sides = zip("UV", found.factor_means, found.factor_largest, strict=True)
        rows += [(f"{side}^T E: mean, largest cosine", f"{mean:+.4f}, {most:.3f}", "0") for side, mean, most in sides]
    return rows


def decomposition_part(found: Decomposition) -> PagePart:
    """Return the section on the first head's singular value decomposition.

    Args:
        found: What was kept.
    """
    values = found.singular_values
    descending = all(one >= other for one, other in itertools.pairwise(values))
    kept = "unknown: too large" if found.directions is None else f"{found.directions} of {min(found.shape)}"
    return PagePart(
        title="Its factors",
        header=("what", "value"),
        rows=[
            ("contexts x tokens", f"{found.shape[0]:,} x {found.shape[1]:,}"),
            ("share of counts that are not 0", f"{100 * found.density:.2g}%"),
            ("directions that A has", kept),
            ("components kept, requested", f"{len(values)} of {found.asked}"),
            ("largest over smallest kept", f"{found.condition:.3g}"),
            ("share of the sum of squares kept", share(found.energy)),
            ("largest |U^T U - 1|, |V^T V - 1|", small(found.orthogonality)),
            ("largest |A v - s u|, |A^T u - s v| over s_1", small(found.residual)),
        ],
        text=(
            f"Singular values, {'largest first' if descending else 'in no order'}: "
            f"{', '.join(small(value) for value in values[:LEADING])}"
            f"{' ... ' + small(values[-1]) if len(values) > LEADING else ''}. The condition is at least 1, and that of "
            "all of A infinite where it has fewer directions than tokens: a quotient under 1 is one turned over."
            + (f" Not separated: {found.note}." if found.note else "")
        ),
    )


PANEL_WIDTH, PANEL_HEIGHT = 300, 240


def scale_chart(record: Explanation) -> Drawn:
    """Draw entropy and skill against the scale of the matrices, one line per layer; the first layer has intervals."""
    import altair

    rows: list[dict[str, Any]] = [
        {"std": scale.std, "layer": f"L{one.layer}", **_share_bounds(one), **_skill_bounds(one)}
        for scale in record.scales
        for one in scale.layers
    ]
    names = [f"L{one.layer}" for one in record.scales[0].layers]
    shades = list(reversed(SEQUENTIAL[3:-1]))  # middle shades show on light and dark ground
    colours = [shades[place * (len(shades) - 1) // max(len(names) - 1, 1)] for place in range(len(names))]
    colour = altair.Color(
        "layer:N",
        sort=names,
        scale=altair.Scale(domain=names, range=colours),
        legend=altair.Legend(title="layer", orient="right"),
    )
    made = altair.hconcat(
        _panel(rows, "share", "entropy over its maximum", (0.0, 1.0), 1.0, colour),
        _panel(rows, "skill", "skill: 1 exact, 0 equal; below -1 at the edge", (-1.0, 1.0), 0.0, colour),
        spacing=24,
    )
    title = "Focus and agreement over scale"
    return Drawn(Figure(name="scale_effects", title=title, caption="", chart=lambda _: made), made)


def _panel(
    rows: list[dict[str, Any]],
    name: str,
    title: str,
    domain: tuple[float, float],
    equal: float,
    colour: altair.Color,
) -> Any:
    import altair

    scales = sorted({float(row["std"]) for row in rows})
    axis = altair.Axis(values=scales, format="~g", grid=False, labelAngle=-45)
    x = altair.X("std:Q", scale=altair.Scale(type="log"), title="standard deviation of the matrices", axis=axis)
    scale = altair.Scale(domain=list(domain), clamp=True, nice=False)
    y = altair.Y(f"{name}:Q", scale=scale, title=title)
    first = [row for row in rows if row["layer"] == "L0"]
    ends = {"y": altair.Y(f"{name}_low:Q", scale=scale, title=title), "y2": altair.Y2(f"{name}_high:Q")}
    return altair.layer(
        chart_of([{"at": equal}])
        .mark_rule(color="ink", opacity=0.4, strokeDash=[3, 3])
        .encode(y=altair.Y("at:Q", scale=scale, title=title)),
        chart_of(first).mark_rule(strokeWidth=1.5).encode(x=x, color=colour, **ends),
        chart_of(rows).mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour),
    ).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)


def _share_bounds(one: ScaledLayer) -> dict[str, float]:
    return {"share": one.share.estimate, "share_low": one.share.low, "share_high": one.share.high}


def _skill_bounds(one: ScaledLayer) -> dict[str, float]:
    message = one.paired_skill
    low, high = (one.skill, one.skill) if message is None or math.isnan(message.low) else (message.low, message.high)
    return {"skill": max(one.skill, -1.0), "skill_low": max(low, -1.0), "skill_high": max(high, -1.0)}


GREY = "#6b7785"
CELL = 7
"""Units a token of the expected and actual weights."""

LEAST_SKILL = -1.0
"""Skills below it are drawn at it."""

SKILL = "skill (below -1 drawn at -1)"


def _legend() -> altair.Legend:
    import altair

    return altair.Legend(title=None, orient="top", labelLimit=400)


def scale_effects(focus: Sequence[Row], skill: Sequence[Row]) -> altair.TopLevelMixin:
    """Draw two line charts against the standard deviation of the matrices: normalised entropy, and skill (agreement
    with the counts).

    Args:
        focus: ``std``, ``series`` and ``mean``: shares of 1.
        skill: ``std``, ``series``, ``mean``, ``low`` and ``high``.
    """
    import altair

    axis = altair.Axis(values=[0.001, 0.01, 0.1, 1], format="~g", grid=False)
    x = altair.X("std:Q", title="standard deviation of the matrices", scale=altair.Scale(type="log"), axis=axis)

    left = _lines(focus, x, "share", (0, 1), (GREY, "#a94a12"))
    right = _lines(skill, x, SKILL, (LEAST_SKILL, 1), (ORANGE, BLUE))
    return altair.hconcat(left, altair.layer(_zero(), right)).resolve_scale(color="independent")


def _lines(
    rows: Sequence[Row], x: altair.X, title: str, ends: tuple[float, float], colours: Sequence[str]
) -> altair.LayerChart:
    import altair

    names = list(dict.fromkeys(row["series"] for row in rows))
    colour = altair.Color("series:N", scale=altair.Scale(domain=names, range=list(colours)), legend=_legend())
    y = altair.Y("mean:Q", title=title, scale=altair.Scale(domain=list(ends)))
    chart = chart_of([{**row, "mean": max(row["mean"], ends[0])} for row in rows]).properties(width=330, height=HEIGHT)
    line = chart.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
    return altair.LayerChart(layer=[line, chart.mark_circle(size=45, opacity=1).encode(x=x, y=y, color=colour)])


def _zero() -> altair.Chart:
    """The skill of uniform attention."""
    return chart_of([{"at": 0}]).mark_rule(color="ink", strokeDash=[3, 3], opacity=0.6).encode(y="at:Q")


def expected_and_actual(panels: Sequence[tuple[str, Sequence[Row]]], tokens: Sequence[str]) -> altair.TopLevelMixin:
    """Draw expected and actual weights of one sequence.

    Args:
        panels: Title and rows ``query``, ``key``, ``weight``.
        tokens: Of the sequence, for both axes.
    """
    import altair

    side = CELL * len(tokens)
    words = "[" + ",".join(f"'{_shown(token)}'" for token in tokens) + "]"
    drawn = []
    for place, (title, rows) in enumerate(panels):
        band = altair.Scale(paddingInner=0, paddingOuter=0)
        axis = altair.Axis(labelExpr=f"{words}[datum.value]", labelFontSize=7, labelAngle=0, ticks=False, grid=False)
        scale = altair.Scale(range=list(SEQUENTIAL), domain=[0, 1], type="sqrt")
        colour = altair.Color("weight:Q", scale=scale, legend=altair.Legend(title="weight") if place == 3 else None)
        y = altair.Y("query:O", title="query" if place % 2 == 0 else None, scale=band, axis=axis)
        x = altair.X("key:O", title="key" if place > 1 else None, scale=band, axis=axis)
        chart = chart_of(rows).mark_rect().encode(x=x, y=y, color=colour)
        heading = altair.TitleParams(title, color="ink", fontSize=12, fontWeight="normal", anchor="start")
        drawn.append(chart.properties(width=side, height=side, title=heading))
    return altair.concat(*drawn, columns=2).resolve_scale(color="independent")


def _shown(token: str) -> str:
    return {"[UNK]": "\u25a1", " ": "\u2423", "\n": "\u21b5", "'": "\\'", "\\": "\\\\"}.get(token, token)


def skill_by_head(rows: Sequence[Row]) -> altair.TopLevelMixin:
    """Draw the skill of every head relative to uniform attention.

    Args:
        rows: ``place`` (such as L0H1), ``series``, ``mean``, ``low`` and ``high``.
    """
    import altair

    places, names = (list(dict.fromkeys(row[name] for row in rows)) for name in ("place", "series"))
    colour = altair.Color("series:N", scale=altair.Scale(domain=names, range=[ORANGE, BLUE]), legend=_legend())
    x = altair.X("place:N", sort=places, title=None, axis=altair.Axis(labelAngle=0, labelFontSize=9, grid=False))
    y = altair.Y("mean:Q", title="skill")
    offset = altair.XOffset("series:N", sort=names)
    chart = chart_of(rows)
    bars = chart.mark_rule(strokeWidth=2).encode(
        x=x, xOffset=offset, color=colour, y=altair.Y("low:Q", title="skill"),
        y2="high:Q",
    )  # fmt: skip
    points = chart.mark_circle(size=50, opacity=1).encode(x=x, xOffset=offset, y=y, color=colour)
    return altair.layer(_zero(), bars, points).properties(width=1.5 * WIDTH, height=HEIGHT)


def singular_values(values: Sequence[float], kept: int) -> altair.TopLevelMixin:
    """Draw singular values, largest first, and mark the ten smallest kept ones; an ascending solver prints those as its
    top ten.

    Args:
        values: All of them, largest first.
        kept: How many are kept.
    """
    import altair

    series = ("kept", "printed as the top by a solver that ascends", "not kept")

    def which(place: int) -> str:
        return series[2] if place > kept else series[1] if place > kept - 10 else series[0]

    rows = [{"place": n, "value": value, "series": which(n)} for n, value in enumerate(values, start=1)]
    scale = altair.Scale(domain=list(series), range=[BLUE, ORANGE, "#a8b1bb"])
    colour = altair.Color("series:N", scale=scale, legend=_legend())
    x = altair.X("place:Q", title="place, largest first", axis=altair.Axis(grid=False), scale=altair.Scale(nice=False))
    y = altair.Y("value:Q", title="singular value of M")
    points = chart_of(rows).mark_circle(size=36, opacity=1).encode(x=x, y=y, color=colour)
    return points.properties(width=WIDTH, height=HEIGHT)


def entropy_and_ceiling(rows: Sequence[Row], flat: float) -> altair.TopLevelMixin:
    """Draw attention entropy in nats by query position; a dashed line at ``flat`` shows the maximum of the last row.

    Args:
        rows: ``position``, ``series`` and ``nats``.
        flat: Log of the number of tokens.
    """
    import altair

    names = list(dict.fromkeys(row["series"] for row in rows))
    scale = altair.Scale(domain=names, range=["#a8b1bb", BLUE, ORANGE][: len(names)])
    colour = altair.Color("series:N", scale=scale, legend=_legend())
    last = max(row["position"] for row in rows)
    ends = altair.Scale(domain=[0, last], nice=False)
    x = altair.X("position:Q", title="position of the query", axis=altair.Axis(grid=False), scale=ends)
    y = altair.Y("nats:Q", title="entropy, nats")
    widths = altair.Scale(domain=names, range=[8, 2, 2][: len(names)])
    width = altair.StrokeWidth("series:N", scale=widths, legend=None)
    lines = chart_of(rows).mark_line(opacity=1).encode(x=x, y=y, color=colour, strokeWidth=width)
    rule = chart_of([{"at": flat}]).mark_rule(color="ink", strokeDash=[3, 3]).encode(y="at:Q")
    label = chart_of([{"at": flat, "told": "ln 32, taken for the maximum of every row"}])
    text = label.mark_text(align="left", dx=6, dy=-8, color="ink").encode(x=altair.value(0), y="at:Q", text="told:N")
    return altair.layer(lines, rule, text).properties(width=WIDTH, height=HEIGHT)
