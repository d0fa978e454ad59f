"""Claims on the heads of BERT, asked of an encoder of its kind."""

from __future__ import annotations

import numpy as np

from heedful.evaluation.result import Finding
from reproductions.deciding import above, below
from reproductions.evidence import Measurements
from reproductions.literature.tables import ENCODER, claimed, mean, measured, share, values

CLARK = "Clark et al. 2019, arXiv:1906.04341"
KOBAYASHI = "Kobayashi et al. 2020, arXiv:2004.10102"


@claimed(
    section=f"{CLARK}, section 3.2",
    sentence="Over half of the attention of the layers past the middle is on the separator.",
    figure="BERT-base: layers 6 to 10",
)
def the_separator_takes_half(evidence: Measurements) -> list[Finding]:
    """Mean mass on the last token over heads and inner rows, second half of the layers."""
    found = values(measured(evidence, "encoder"), "separator_by_layer")
    later = found[:, found.shape[1] // 2 :]
    message = f"Mass on the separator, mean over heads of layers {found.shape[1] // 2} and up: {ENCODER}."
    return [above(share(later.mean(1)), 0.5, message, unit="mass", null=".008: uniform attention over 128 keys")]


@claimed(
    section=f"{CLARK}, section 3.1",
    sentence="Some heads put more than half of their attention on the previous token.",
    figure="BERT-base: four heads on average over half",
)
def a_head_looks_at_the_previous_token(evidence: Measurements) -> list[Finding]:
    """The head that has most on other documents."""
    return _neighbour(evidence, "before", "previous")


@claimed(
    section=f"{CLARK}, section 3.1",
    sentence="Some heads put more than half of their attention on the next token.",
    figure="BERT-base: five heads on average over half",
)
def a_head_looks_at_the_next_token(evidence: Measurements) -> list[Finding]:
    """The head that has most on other documents."""
    return _neighbour(evidence, "after", "next")


def _neighbour(evidence: Measurements, name: str, word: str) -> list[Finding]:
    found = measured(evidence, "encoder")
    place = int(values(found, f"{name}_named").mean(0).argmax())
    layer, head = divmod(place, int(found["heads"]))
    message = (
        f"Mass on the {word} token of the head that has most on other documents, layer {layer} head {head}: {ENCODER}."
    )
    return [
        above(
            share(values(found, name)[:, place]),
            0.5,
            message,
            unit="mass",
            null=".008: uniform attention over 128 keys",
        )
    ]


@claimed(
    section=KOBAYASHI,
    sentence="The separator's value is small, which cancels the weight that it gets.",
    figure="BERT-base: transformed vectors of the separator far shorter than the others'",
)
def the_separators_value_is_small(evidence: Measurements) -> list[Finding]:
    """Log ratio of norms over all heads: half the norm of the others or less."""
    found = measured(evidence, "encoder")
    message = (
        "Log of the norm of the separator's value over the median of the others', mean over heads, before the output "
        f"projection: {ENCODER}."
    )
    null = "0: as long as the others"
    return [below(mean(values(found, "separator_value")), float(np.log(0.5)), message, unit="log ratio", null=null)]
