"""Claims of note 004: thresholds that call attention sharp, uniform, local or varied, on attention of known structure.

``OUT/guide.json`` is what ``heedful lab calibrate --json`` wrote: under ``guide``, how often each rule of the note says
yes of causal attention with planted effects, by length. ``pointed`` puts .4 of a row's weight on the key before and .3
on the first key; ``weak`` has logits of standard deviation .25, with keys near and keys of the same token favoured by a
quarter; ``iid logits`` has logits of standard deviation 1 and no structure.
"""

from __future__ import annotations

from functools import partial

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements, NotMeasured
from reproductions.published import published

LENGTHS = (16, 64, 256)
RIGHT, WRONG = 0.95, 0.05
"""Share of attention with the property of which a rule has to say so, and of attention without it, at most."""

WORDS = {
    "pointed": "sharp heads (.4 of the weight on the key before, .3 on the first)",
    "weak": "nearly uniform heads (logits of spread .25; near keys and equal tokens favoured by a quarter)",
    "iid logits": "heads without structure (independent logits of spread 1)",
}

register = partial(published, note="004")


def _shares(evidence: Measurements, rule: str, world: str, wanted: bool | None) -> list[Finding]:
    """How often a rule says yes of a world, by length: as often as it should (``wanted``), or beside (None)."""
    table = {
        one["length"]: (one["count"], one["trials"])
        for one in evidence.document("guide")["guide"]
        if one["rule"] == rule and one["world"] == world and one["causal"]
    }
    if not table:
        raise NotMeasured(f"guide: {rule}, {world}")
    found = []
    for length in LENGTHS:
        count, trials = table[length]
        interval = _proportion(count, trials)
        reason = f"Share of {WORDS[world]} of which the rule says yes, {length} tokens, causal."
        facts = {"unit": "of the heads", "detail": {"length": length, "world": world}}
        if wanted is None:
            found.append(beside(interval, reason, **facts))
        elif wanted:
            found.append(above(interval, RIGHT, reason, **facts))
        else:
            found.append(below(interval, WRONG, reason, **facts))
    return found


def _proportion(count: int, trials: int) -> Interval:
    """A share with its exact interval. Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404."""
    from scipy.stats import binomtest

    bounds = binomtest(count, trials).proportion_ci(0.95, method="exact")
    return Interval(count / trials, float(bounds.low), float(bounds.high), trials, 0.95)


@register(
    section="1, uniformity",
    sentence="A head is sharp where row_std exceeds .10, and uniform where it is .05 at most.",
    figure="row_std > .10: SHARP; <= .05: UNIFORM",
)
def row_std_tells_sharp_from_uniform(evidence: Measurements) -> list[Finding]:
    """Ask of sharp and of nearly uniform attention; row_std falls with the length whatever the structure."""
    return [
        *_shares(evidence, "row_std: SHARP", "pointed", True),
        *_shares(evidence, "row_std: UNIFORM", "pointed", False),
        *_shares(evidence, "row_std: UNIFORM", "weak", True),
    ]


@register(
    section="4, statistical tests",
    sentence="A mean deviation from 1/N of more than .05 tells learned attention from uniform attention.",
    figure="mean |A - 1/N| > .05",
)
def mean_deviation_tells_learned_from_uniform(evidence: Measurements) -> list[Finding]:
    """Ask of sharp and of nearly uniform attention; the causal mask alone deviates where rows are short."""
    rule = "different from uniform"
    return [*_shares(evidence, rule, "pointed", True), *_shares(evidence, rule, "weak", False)]


@register(
    section="4, statistical tests",
    sentence="Entropy of at least .8 of log N says that attention is nearly uniform.",
    figure="H / log N: 0 sharp, 1 uniform",
)
def entropy_tells_uniform_attention(evidence: Measurements) -> list[Finding]:
    """Ask of nearly uniform and of sharp attention; log N counts keys that a causal row does not see."""
    rule = "entropy: nearly uniform"
    return [*_shares(evidence, rule, "weak", True), *_shares(evidence, rule, "pointed", False)]


@register(
    section="3, position",
    sentence="Near keys with 1.1 times the weight of far keys show a local bias.",
    figure="near > 1.1 far",
)
def near_over_far_shows_local_bias(evidence: Measurements) -> list[Finding]:
    """Ask of attention without structure and of attention that favours near keys by a quarter."""
    return [*_shares(evidence, "local bias", "iid logits", False), *_shares(evidence, "local bias", "weak", True)]


@register(
    section="3, repetition",
    sentence="Keys of the query's token with 1.2 times the weight of others show attraction of repeated tokens.",
    figure="same > 1.2 other",
)
def same_over_other_shows_attraction(evidence: Measurements) -> list[Finding]:
    """Ask of attention without structure and of attention that favours the same token by a quarter."""
    rule = "repeated tokens attract"
    return [*_shares(evidence, rule, "iid logits", False), *_shares(evidence, rule, "weak", True)]


@register(
    section="6, query variation",
    sentence="Query variation above .05 says that queries attend differently.",
    figure="variation > .05",
)
def variation_says_that_queries_differ(evidence: Measurements) -> list[Finding]:
    """Ask of attention whose queries differ; of nearly uniform attention it tells the causal mask (beside)."""
    rule = "queries attend differently"
    return [*_shares(evidence, rule, "iid logits", True), *_shares(evidence, rule, "weak", None)]
