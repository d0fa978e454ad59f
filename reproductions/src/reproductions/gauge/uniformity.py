"""Claims that gauge heads attend uniformly, by spin, temperature, dimension and training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict
from reproductions.deciding import above, below, beside, within
from reproductions.evidence import Measurements
from reproductions.gauge.tables import LABELS, by_seed, over_seeds, paired, recall
from reproductions.published import published

UNIFORM = 0.05
"""Nats from uniform below which a head is uniform: effective keys over 95 % of those it sees."""

HIGH, LOW, LOWEST = 0.4318, 0.0086, 0.00043
PAIRS, ALONE = 64.0, 0.0
"""Temperatures of the note; weight of a divergence summed over the pairs of 64 tokens, and none."""

register = partial(published, note="001")


def _not_yet(finding: Finding) -> Finding:
    """The finding of a run much shorter than the note's: not settled where it speaks against the claim."""
    return replace(finding, verdict=Verdict.INSUFFICIENT) if finding.verdict == Verdict.ABSENT else finding


@register(
    section="the pattern",
    sentence="Under one temperature heads of higher spin deviate more from uniform: l0, then l1, then l2.",
    figure="row_std .024 to .030, .030 to .045, .065 to .090",
)
def deviation_rises_with_spin(evidence: Measurements) -> list[Finding]:
    """Test whether the note's row SD rises with spin at kappa .43; untrained models are reported for comparison."""
    table, random = evidence.table("deciding"), evidence.table("untrained")
    low, middle, high = (
        by_seed(table, "row_std_seed", label, kappa_rule="shared", token_frames="learned") for label in LABELS
    )
    untrained = [by_seed(random, "row_std_seed", label, kappa_rule="shared") for label in LABELS]
    message = f"Means {np.mean(low):.4f}, {np.mean(middle):.4f}, {np.mean(high):.4f}."
    return [
        above(over_seeds(paired(middle, low)), 0.0, f"row_std of l1 minus l0. {message}", unit="mass"),
        above(over_seeds(paired(high, middle)), 0.0, "row_std of l2 minus l1.", unit="mass"),
        beside(over_seeds(paired(untrained[2], untrained[0])), "l2 minus l0 before any training.", unit="mass"),
    ]


@register(
    section="temperature experiments",
    sentence="At kappa .43 every head is uniform.",
    figure="KL .0030 (sd .0015), uniform, perplexity 900",
)
def high_kappa_is_uniform(evidence: Measurements) -> list[Finding]:
    """Test whether attention at high kappa is uniform, with the note's loss and without it."""
    table = evidence.table("kappa")
    found = {
        weight: over_seeds(by_seed(table, "concentration", kappa=HIGH, alignment_weight=weight))
        for weight in (PAIRS, ALONE)
    }
    kl = over_seeds(by_seed(table, "kl_mean", kappa=HIGH, alignment_weight=PAIRS))
    return [
        below(found[PAIRS], UNIFORM, "Nats from uniform with the alignment loss over all pairs.", unit="nat"),
        below(found[ALONE], UNIFORM, "The same without that loss.", unit="nat"),
        beside(kl, "Mean divergence with that loss.", unit="nat"),
    ]


@register(
    section="temperature experiments",
    sentence="A thousand times colder, gradients explode and the perplexity is worse.",
    figure="perplexity 1475 against 900, a gradient of 357",
)
def lowest_kappa_is_unstable(evidence: Measurements) -> list[Finding]:
    """Compare training at kappa .00043 and .43 with the note's loss, by seed; a short run cannot refute the claim."""
    table = evidence.table("kappa")

    def difference(measure: str) -> np.ndarray:
        cold, warm = (by_seed(table, measure, kappa=kappa, alignment_weight=PAIRS) for kappa in (LOWEST, HIGH))
        return paired(cold, warm)

    return [
        _not_yet(above(over_seeds(difference("held_out_loss")), 0.0, "Held-out loss.", unit="nat/token")),
        _not_yet(
            above(over_seeds(difference("gradient_explosions")), 0.0, "Gradients ten times the median before them.")
        ),
        beside(over_seeds(difference("largest_gradient")), "Largest norm of a gradient."),
    ]


@register(
    section="temperature experiments",
    sentence="Fifty times colder, the eight heads of low spin stay uniform.",
    figure="kappa .0086: 8 of 9 uniform, l2 row_std .068",
)
def low_spin_stays_uniform_when_colder(evidence: Measurements) -> list[Finding]:
    """Test whether heads l0 and l1 stay uniform at lower kappa, with the note's loss and without it."""
    table = evidence.table("kappa")
    return [
        below(
            over_seeds(by_seed(table, "concentration", label, kappa=LOW, alignment_weight=weight)),
            UNIFORM,
            f"Nats from uniform of {label}, {message}.",
            unit="nat",
        )
        for weight, message in ((PAIRS, "alignment loss over all pairs"), (ALONE, "no alignment loss"))
        for label in ("l0", "l1")
    ]


@register(
    section="key findings of the temperature experiments",
    sentence="A lower temperature does not spread the divergences.",
    figure="sd .0015 at .43 and at .00043",
)
def lower_kappa_does_not_spread_divergences(evidence: Measurements) -> list[Finding]:
    """Test whether the SD of divergences at two temperatures agrees within a quarter."""
    table = evidence.table("kappa")
    cold, warm = (by_seed(table, "kl_sd", kappa=kappa, alignment_weight=PAIRS) for kappa in (LOWEST, HIGH))
    both = min(len(cold), len(warm))
    ratio = over_seeds(np.log(cold[:both] / warm[:both]))
    band = float(np.log(1.25))
    return [within(ratio, -band, band, "Log of the ratio of the deviation of KL, kappa .00043 over .43.")]


@register(
    section="diversity tracking",
    sentence="Beliefs are diverse: what is lost is not diversity.",
    figure="mean distance .4962, KL .0192 (sd .0134)",
)
def diversity_is_healthy(evidence: Measurements) -> list[Finding]:
    """Compute the share of the mean token distance that remains under the alignment loss over all pairs."""
    with_loss = by_seed(evidence.table("loss"), "mean_distance", alignment_weight=PAIRS)
    without = by_seed(evidence.table("deciding"), "mean_distance", kappa_rule="shared", token_frames="learned")
    both = min(len(with_loss), len(without))
    share = over_seeds(with_loss[:both] / without[:both])
    return [above(share, 0.8, "Mean distance of two tokens with the loss over all pairs, share of that without.")]


@register(
    section="what does not work",
    sentence="One head of many dimensions is uniform, by the law of large numbers.",
    figure="a single l9 head: uniform",
)
def many_dimensions_are_uniform(evidence: Measurements) -> list[Finding]:
    """Test whether a single l9 head is uniform at kappa .43; kappa 19 is reported for comparison."""
    found = by_seed(evidence.table("large"), "concentration")
    warm = over_seeds(by_seed(evidence.table("irreps"), "concentration", irreps="1x9e"))
    return [
        below(over_seeds(found), UNIFORM, "Nats from uniform of a single l9 head, kappa .43.", unit="nat"),
        beside(warm, "The same at kappa 19, which is one a dimension.", unit="nat"),
    ]


@register(
    section="discovery and conclusion",
    sentence="Heads of low spin cannot attend sharply, whatever the training and the temperature.",
    figure="l0 row_std at most .030, uniform",
)
def low_spin_cannot_attend_sharply(evidence: Measurements) -> list[Finding]:
    """Test whether a 1-D head trained to find one key of 24 still has at least 12 effective keys."""
    learned, free = (over_seeds(recall(evidence, "effective_keys", arm, 1)) for arm in ("longer", "free"))
    right = over_seeds(recall(evidence, "accuracy", "longer", 1))
    table = evidence.table("kappa")
    cold = over_seeds(by_seed(table, "concentration", "l0", kappa=LOW, alignment_weight=ALONE))
    return [
        above(learned, 12.0, "Effective keys of 24, one dimension, a learned temperature.", unit="keys"),
        above(free, 12.0, "The same at kappa .43.", unit="keys"),
        beside(right, "Share of right answers with a learned temperature.", unit="share"),
        beside(cold, "Nats from uniform of l0 in a language model at kappa .0086.", unit="nat"),
    ]
