"""Claims on heads that are not needed, and on attention that could be constant."""

from __future__ import annotations

import numpy as np

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements
from reproductions.literature.tables import DECODER, claimed, mean, measured, values

MICHEL = "Michel et al. 2019, arXiv:1905.10650"
HASSID = "Hassid et al. 2022, arXiv:2211.03495"
LITTLE = 0.01
"""Share of the loss up to which a rise is no noticeable one."""


@claimed(
    section=f"{MICHEL}, section 3.2",
    sentence="Most heads can be left out alone without a noticeable loss.",
    figure="translation: 8 of 96 encoder heads change BLEU significantly",
)
def most_heads_can_go_alone(evidence: Measurements) -> list[Finding]:
    """Of heads drawn at random those whose interval of the rise lies under 1 % of the loss; more than half."""
    found = measured(evidence, "pruning")
    intact = values(found, "intact")
    bound = LITTLE * float(intact.mean())
    rises = [mean(np.asarray(one["losses"]) - intact) for one in found["alone"]]
    small = sum(float(one.high) < bound for one in rises)
    large = sum(float(one.low) > bound for one in rises)
    message = (
        f"Share of {len(rises)} heads drawn at random whose removal raises the loss by under {bound:.3f} nat a token "
        f"(1 %), by the whole interval over {len(intact)} documents; {large} raise it by more. Clopper-Pearson over "
        f"heads, which are the units: {DECODER}."
    )
    return [above(_binomial(small, len(rises)), 0.5, message, unit="share", null="half of the heads")]


@claimed(
    section=f"{MICHEL}, section 4.2",
    sentence="20 % of the heads can be left out at once, in the order of their importance, with no noticeable loss.",
    figure="translation 20 %, BERT 40 %",
)
def a_fifth_of_the_heads_can_go(evidence: Measurements) -> list[Finding]:
    """Rise of the loss by the paper's own importance, measured on other documents; a tenth and random order beside."""
    return _pruned(evidence, 0.2)


@claimed(
    section=f"{MICHEL}, section 4.2",
    sentence="40 % of the heads can be left out at once, in the order of their importance, with no noticeable loss.",
    figure="BERT 40 %",
)
def two_fifths_of_the_heads_can_go(evidence: Measurements) -> list[Finding]:
    """The same for 40 %."""
    return _pruned(evidence, 0.4)


def _pruned(evidence: Measurements, part: float) -> list[Finding]:
    found = measured(evidence, "pruning")
    intact = values(found, "intact")
    bound = LITTLE * float(intact.mean())
    message = f"Rise of the loss without the {part:.0%} of {found['heads']} heads that matter least on other documents"
    decided = mean(values(found, f"least_{part:g}") - intact)
    findings = [
        below(decided, bound, f"{message}: {DECODER}.", unit="nat/token", null="0; the threshold is 1 % of the loss")
    ]
    if part == 0.2:
        findings += [
            beside(mean(values(found, "least_0.1") - intact), "Without a tenth of them.", unit="nat/token"),
            beside(mean(values(found, "random_0.2") - intact), "Without a fifth at random, mean of three draws.",
                   unit="nat/token"),
        ]  # fmt: skip
    return findings


@claimed(
    section=f"{HASSID}, section 4",
    sentence="Half of the attention can be constant, the same whatever the text, with no loss.",
    figure="BERT, RoBERTa, DeBERTa: half of the heads, at most a slight loss of probes",
)
def half_of_attention_can_be_constant(evidence: Measurements) -> list[Finding]:
    """Rise of the loss when the half of the heads that matter least follow the mean pattern of other documents."""
    found = measured(evidence, "pruning")
    intact = values(found, "intact")
    bound = LITTLE * float(intact.mean())
    message = (
        "Rise of the loss when the half of the heads that matter least on other documents follow the mean pattern of "
        f"all documents: {DECODER}, which is not trained anew; the paper's models are probed."
    )
    decided = mean(values(found, "constant_half") - intact)
    return [below(decided, bound, message, unit="nat/token", null="0; the threshold is 1 % of the loss")]


@claimed(
    section=f"{HASSID}, section 4",
    sentence="All attention can be constant at a small cost.",
    figure="BERT, RoBERTa, DeBERTa: 8 % of the performance on average",
)
def all_attention_can_be_constant(evidence: Measurements) -> list[Finding]:
    """The same for all heads; small: a tenth of the loss."""
    found = measured(evidence, "pruning")
    intact = values(found, "intact")
    bound = 0.1 * float(intact.mean())
    message = (
        f"Rise of the loss when every head follows the mean pattern of all documents: {DECODER}, not trained anew."
    )
    decided = mean(values(found, "constant_all") - intact)
    return [below(decided, bound, message, unit="nat/token", null="0; the threshold is 10 % of the loss")]


def _binomial(count: int, of: int, level: float = 0.95) -> Interval:
    """A share with its exact interval."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
    return Interval(count / of, low, high, of, level)
