"""The page on why derived attention is as it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from heedful.report.explanation_charts import scale_chart
from heedful.report.pages.cells import share, small
from heedful.report.pages.part import Page, Part
from heedful.report.quantity import count

if TYPE_CHECKING:
    from heedful.core.explanation import Explanation, Scale, ScaledLayer


def explanation_page(record: Explanation) -> Page:
    """The page, top to bottom.

    Args:
        record: What to show.
    """
    subject = (
        f"{record.model}: {count(record.documents, 'piece')} of text, {record.tokens} tokens each. A causal row of "
        f"them has at most {record.ceiling:.3f} nat of entropy on average, rows from the second on."
    )
    parts = [_own(record), _sweep(record), _geometry(record), Part(title="Cause", text=record.cause)]
    return Page(title="Why this attention", subject=subject, parts=parts)


def _own(record: Explanation) -> Part:
    return Part(
        title="As it is, by layer",
        header=("layer", "entropy", "of max", "max", "|logit|", "spread", "KL", "skill"),
        rows=[_row(f"L{layer.layer}", layer) for layer in record.own.layers],
        text=(
            "entropy in nats, and over what a causal row allows; largest weight; mean size of the logits that are "
            "softmaxed, and their standard deviation in a row; KL from the attention that counts predict, and skill: "
            f"1 - KL / KL of equal weights. The first head would agree best at {record.first_head.factor:.3g} "
            "times its "
            f"logits: KL {record.first_head.least:.3f} in place of {record.first_head.divergence:.3f}."
        ),
    )


def _row(name: str, layer: ScaledLayer) -> tuple[str, ...]:
    return (
        name,
        f"{layer.entropy.estimate:.2f}",
        share(layer.share.estimate),
        f"{layer.largest.estimate:.2f}",
        _size(layer.logit),
        _size(layer.spread),
        _size(layer.divergence.estimate),
        f"{layer.skill:+.2f}" if layer.skill > -9.995 else f"{layer.skill:+.0f}",
    )


def _size(value: float) -> str:
    return f"{value:.1e}" if value >= 999.5 else small(value) if value < 10 else f"{value:.0f}"


def _sweep(record: Explanation) -> Part:
    rows = [_row(f"{one.std:g} L{layer.layer}", layer) for one in record.scales for layer in one.layers]
    return Part(
        title="At other scales",
        header=("std", "entropy", "of max", "max", "|logit|", "spread", "KL", "skill"),
        rows=rows,
        text=_read(record.scales),
        chart=partial(scale_chart, record),
    )


def _read(scales: Sequence[Scale]) -> str:
    best = max(scales, key=lambda one: one.layers[0].skill)
    sharp = [f"{one.std:g}" for one in scales if one.layers[0].share.estimate < 0.5 and one.layers[0].skill < 0]
    raw = ", ".join(f"{one.raw:.2g}" for one in scales)
    told = (
        "Every matrix is brought to one standard deviation, and logits are divided by the root of the head's "
        "dimensions. "
        f"Scale makes focus, not agreement: the first layer agrees best at {best.std:g} (skill "
        f"{best.layers[0].skill:+.2f}). "
    )
    if sharp:
        told += f"Focused and worse than equal weights: {', '.join(sharp)}. "
    return told + f"Mean |q . k| of bare embeddings, which are no logits, at each scale: {raw}."


def _geometry(record: Explanation) -> Part:
    found = record.geometry
    leading = ", ".join(f"{value:.2f}" for value in found.coincidence)
    return Part(
        title="Queries beside keys, first head",
        header=("what", "value"),
        rows=[
            ("largest |A - A^T| over largest |A|", f"{found.asymmetry:.2f}"),
            ("inner products of embeddings, mean", f"{found.similarity[0]:.4f}"),
            ("  their deviation; of random ones", f"{found.similarity[1]:.4f}; {found.null:.4f}"),
            ("left factors within the embeddings", share(found.overlap)),
            ("|u . v| of the leading factors", leading),
            ("correlation of scores with A", f"{found.correlation:+.3f}"),
            ("what scores leave of A", share(found.error)),
        ],
        text=(
            "A is the affinity. Scores are compared, rows centred, and not the matrices: any invertible change between "
            "queries and keys leaves every score as it is and changes every cosine between columns."
        ),
    )
