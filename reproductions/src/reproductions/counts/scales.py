"""Claims on the scale of derived matrices: its effect on entropy, scores and agreement with the counts."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.stats import spearmanr

from heedful.evaluation.result import Finding
from reproductions.counts.sweeping import PUBLISHED, SCALES
from reproductions.counts.tables import EQUAL, band, beyond_uniform, by_unit, over_units, skill, slope
from reproductions.deciding import above, below, beside, identity, within
from reproductions.evidence import Measurements
from reproductions.published import published

ARM, KEPT = "published", "kept"
ADVISED = (0.05, 0.1, 0.2)
CLASSES = {0.001: 0, 0.005: 0, 0.01: 0, 0.02: 1, 0.05: 2, 0.1: 2, 0.2: 2, 0.5: 2, 1.0: 1}
"""Scale to the rank of its class in the note: too small; getting better or too large; good."""

MOVED = 0.05
"""Share of queries whose most attended key must change for a scale to change where attention looks."""

UNIFORM_SHARE = 0.9

register = partial(published, note="000", section="1, scale of the matrices")


@register(
    sentence="The larger the standard deviation of the matrices, the sharper the attention, from uniform to one key.",
    figure="entropy 2.55 to .01, largest weight .13 to .99 from .001 to 1",
)
def scale_sharpens_attention(evidence: Measurements) -> list[Finding]:
    """Test whether entropy falls at every step to the next larger scale."""
    entropy = np.stack([by_unit(evidence, "sweep", "entropy", arm=ARM, std=std) for std in SCALES])
    largest = [over_units(by_unit(evidence, "sweep", "largest", arm=ARM, std=std)) for std in (SCALES[0], SCALES[-1])]
    message = "Largest change of mean entropy from one of the nine scales to the next."
    return [
        below(over_units(np.diff(entropy, axis=0).max(0)), 0.0, message, unit="nat"),
        within(over_units(entropy[0]), *band(2.55), "Mean entropy at .001, the first row among them.", unit="nat"),
        below(over_units(entropy[-1]), 0.05, "The same at 1.", unit="nat"),
        within(largest[0], *band(0.13), "Mean largest weight at .001.", null="uniform: 0.127"),
        above(largest[1], 0.95, "The same at 1."),
    ]


@register(
    sentence="The score that the note measures grows with the square of the scale.",
    figure=".0000019 at .001 to 1.92 at 1: 1.9216 times the square",
)
def raw_score_grows_with_the_square(evidence: Measurements) -> list[Finding]:
    """Fit the exponent with which the raw score grows with the scale; the claim is 2."""
    found = slope(evidence, "raw_score", SCALES, ARM)
    factor, kept = (over_units(by_unit(evidence, "sweep", "raw_score", arm=arm, std=1.0)) for arm in (ARM, KEPT))
    return [
        identity(within(over_units(found), 1.99, 2.01, "Exponent of the raw score: both factors are scaled.")),
        beside(factor, "Raw score at 1 on these texts, which is the factor."),
        beside(kept, "The same with the embeddings that the matrices were made for."),
    ]


@register(
    sentence="Scores of .0002 are what attention softmaxes at .01.",
    figure=".000192, so nearly uniform",
)
def scores_are_the_logits(evidence: Measurements) -> list[Finding]:
    """Test whether mean logits are at most twice the published score, which ignores norm, positions and scaling."""
    raw = by_unit(evidence, "sweep", "raw_score", arm=ARM, std=PUBLISHED, layer=0)
    logits = [by_unit(evidence, "sweep", "logit", arm=ARM, std=PUBLISHED, layer=layer) for layer in range(4)]
    message = "Mean size of the first layer's logits over that of the published score."
    return [
        below(over_units(logits[0] / raw), 2.0, message, unit="x"),
        beside(over_units(raw), "The published score at .01."),
        *(
            beside(over_units(one), f"Mean size of the logits of layer {layer} at .01.")
            for layer, one in enumerate(logits)
        ),
    ]


@register(sentence="At .01 attention is nearly uniform.", figure="entropy 2.24, largest weight .20")
def hundredth_is_nearly_uniform(evidence: Measurements) -> list[Finding]:
    """Compare the entropy at scale .01, over all layers, with the maximum that a causal mask allows."""
    own = partial(by_unit, evidence, "sweep", arm=ARM, std=PUBLISHED)
    found = over_units(own("of_ceiling"))
    entropy = over_units(own("entropy"))
    return [
        above(found, UNIFORM_SHARE, "Entropy over the causal ceiling ln(32!)/32 = 2.549 nats, all layers."),
        beside(entropy, "Entropy; the note's 2.24, with dropout on one sequence, is 88 % of that.", unit="nat"),
        *(beside(over_units(own("of_ceiling", layer=layer)), f"Layer {layer} alone.") for layer in (0, 3)),
    ]


@register(sentence="At .01 the entropy is 65 % of its maximum.", figure="2.24 of 3.47, ln 32")
def entropy_is_two_thirds_of_its_maximum(evidence: Measurements) -> list[Finding]:
    """Compare entropy with the maximum that a causal mask allows, averaged over rows."""
    own = partial(by_unit, evidence, "sweep", arm=ARM, std=PUBLISHED)
    right, wrong = (over_units(own(name)) for name in ("of_ceiling", "of_last_row"))
    flat = over_units(by_unit(evidence, "sweep", "of_last_row", arm=ARM, std=SCALES[0]))
    return [
        within(right, 0.6, 0.7, "Entropy over the mean ceiling of causal rows."),
        beside(wrong, "Entropy over ln 32, as published."),
        beside(flat, "Uniform attention (scale .001) over ln 32: the most that this share can be."),
    ]


@register(
    sentence="At .1 attention is focused.",
    figure="entropy .71, largest weight .74; .20 and .93 at .2",
)
def tenth_is_focused(evidence: Measurements) -> list[Finding]:
    """Test whether the two figures published for scale .1 are reproduced within a quarter."""
    found = {name: over_units(by_unit(evidence, "sweep", name, arm=ARM, std=0.1)) for name in ("entropy", "largest")}
    layers = [over_units(by_unit(evidence, "sweep", "entropy", arm=ARM, std=0.1, layer=one)) for one in (0, 1)]
    return [
        below(found["entropy"], 1.27, "Mean entropy at .1; the claim: under half of the ceiling.", unit="nat"),
        above(found["largest"], 0.5, "Mean largest weight at .1."),
        *(beside(one, f"Entropy of layer {layer} alone.", unit="nat") for layer, one in enumerate(layers)),
    ]


@register(
    sentence="Scales of .05 to .2 give meaningful attention.",
    figure="called good or better: entropy 1.36, .71, .20",
)
def scales_to_a_fifth_are_meaningful(evidence: Measurements) -> list[Finding]:
    """Test whether the first layer at scales .1 to .2 has a lower KL from the counts than uniform attention."""
    message = "KL of uniform attention from the counts minus that of the first layer at"
    return [
        *(
            above(over_units(beyond_uniform(evidence, "heads", ARM, std=std, layer=0)), 0.0, f"{message} {std:g}.",
                  unit="nat")
            for std in ADVISED
        ),
        *(
            beside(over_units(beyond_uniform(evidence, "heads", KEPT, std=std, layer=0)),
                   f"The same at {std:g} with the embeddings that the matrices were made for.", unit="nat")
            for std in ADVISED
        ),
    ]  # fmt: skip


@register(
    sentence="Attention of a class called better agrees better with what it was derived from.",
    figure="too small to .01; better .02; good from .05 to .5; maybe too large 1",
)
def classes_rank_quality(evidence: Measurements) -> list[Finding]:
    """Correlate the published class of nine scales with skill of the first layer (rank correlation per slice)."""
    found = {}
    for arm in (ARM, KEPT):
        skills = np.stack([skill(evidence, "heads", arm, std=std, layer=0) for std in SCALES])
        found[arm] = np.array([spearmanr(list(CLASSES.values()), column).statistic for column in skills.T])
    message = "Rank correlation of the note's class with the skill of the first layer, nine scales"
    return [
        above(over_units(found[ARM]), 0.0, f"{message}."),
        above(over_units(found[KEPT]), 0.0, f"{message}, embeddings kept."),
    ]


@register(
    sentence="The scale decides where attention looks.",
    figure="a massive impact on attention quality",
)
def scale_decides_where_attention_looks(evidence: Measurements) -> list[Finding]:
    """Test how many first-layer queries attend most to different keys at scales .1 and .01."""
    message = "Share of queries of the first layer whose most attended key at .1 is not that at .01"
    return [
        identity(above(over_units(by_unit(evidence, "sweep", "moved", arm=arm, std=0.1, layer=0)), MOVED, words))
        for arm, words in ((ARM, f"{message}."), (KEPT, f"{message}, kept; ties apart."))
    ]


@register(
    sentence="Using .1 to .2 in place of .01 mends the attention.",
    figure="recommended at once",
)
def a_tenth_is_better_than_a_hundredth(evidence: Measurements) -> list[Finding]:
    """Compare the first layer's KL from the counts at the recommended scale and at .01."""
    findings = []
    for arm, word in ((ARM, ""), (KEPT, ", embeddings kept")):
        at = {std: by_unit(evidence, "heads", "divergence", arm=arm, std=std, layer=0) for std in SCALES}
        for std in (0.1, 0.2):
            message = f"KL from the counts at {std:g} minus that at .01, first layer{word}."
            findings.append(below(over_units(at[std] - at[PUBLISHED]), -EQUAL, message, unit="nat"))
        if arm == KEPT:
            best = np.array([SCALES[place] for place in np.stack(list(at.values())).argmin(0)])
            findings.append(beside(over_units(best), "The scale of the nine at which KL is least, embeddings kept."))
    return findings
