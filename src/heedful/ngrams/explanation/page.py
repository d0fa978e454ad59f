"""Page that explains derived attention."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from heedful.ngrams.explanation.page_charts import scale_chart
from heedful.ngrams.explanation.page_geometry import decomposition_part, geometry_part
from heedful.reporting.pages.cells import share, small
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.ngrams.explanation.record import Explanation, Scale, ScaledLayer

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
