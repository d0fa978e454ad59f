"""Claims of note 003 on why derived attention differs from counts: embeddings, projections, positions."""

from __future__ import annotations

from functools import partial

from heedful.evaluation.result import Finding
from reproductions.counts.geometry import number
from reproductions.counts.sweeping import PUBLISHED
from reproductions.counts.tables import EQUAL, beyond_uniform, by_unit, over_units, skill
from reproductions.deciding import above, below, beside, identity
from reproductions.evidence import Measurements
from reproductions.published import published

PROBLEM, WHY, ROOT, SHOULD, CONCLUSION = (
    "the problem", "why this happens", "root cause", "what should happen", "conclusion",
)  # fmt: skip
UNRELATED = 0.1
"""Correlation under which scores have nothing to do with the counts."""

register = partial(published, note="003")


@register(
    section=PROBLEM,
    sentence="The way from co-occurrence of tokens to attention of positions is lost.",
    figure="the fundamental mismatch",
)
def mapping_is_lost(evidence: Measurements) -> list[Finding]:
    """Test whether a head with the embeddings it was derived from still has no skill."""
    kept, replaced = (skill(evidence, "heads", arm, std=PUBLISHED, layer=0) for arm in ("kept", "published"))
    return [
        below(over_units(kept), EQUAL, "Skill of the first layer at .01, embeddings kept.",
              null="uniform attention: 0"),
        beside(over_units(replaced), "As published, embeddings replaced after the matrices were made."),
    ]  # fmt: skip


@register(
    section=PROBLEM,
    sentence="Scores depend on the similarity of embeddings, not on the counts.",
    figure="score = embedding similarity",
)
def scores_are_similarities(evidence: Measurements) -> list[Finding]:
    """Test whether scores correlate more with embedding similarity than with the count matrix M."""
    likeness, counts = (by_unit(evidence, "structure", f"correlation{end}") for end in ("_similarity", ""))
    return [
        above(over_units(likeness - counts), 0.0, "Correlation with similarity minus that with M, own embeddings."),
        beside(over_units(counts), "Correlation of scores with M."),
        beside(number(evidence, "correlation_replaced"), "The same with embeddings that the matrices do not know."),
    ]


@register(
    section=WHY,
    sentence="With orthogonal embeddings the score of two different tokens is about 0, whatever the counts say.",
    figure="similarity about .01",
)
def orthogonal_embeddings_score_nothing(evidence: Measurements) -> list[Finding]:
    """Test whether scores of orthonormal embeddings are uncorrelated with the count matrix M."""
    message = "Correlation of scores with M, orthonormal embeddings, rows centred."
    return [
        below(number(evidence, "correlation_orthonormal"), UNRELATED, message),
        beside(number(evidence, "correlation_least_squares"), "Random embeddings, read by least squares."),
    ]


@register(
    section=WHY,
    sentence="Projections do not preserve the structure of the counts.",
    figure="W_Q = E'U sqrt(S), W_K = E'V sqrt(S)",
)
def projections_lose_the_counts(evidence: Measurements) -> list[Finding]:
    """Correlate the scores of the note's projections and embeddings with the count matrix M."""
    message = "Correlation of scores with M, random embeddings of length 1 in 256 dimensions."
    return [
        below(number(evidence, "correlation"), UNRELATED, message),
        beside(number(evidence, "correlation_replaced"), "Embeddings replaced, as in the published code."),
    ]


@register(
    section=WHY,
    sentence="Nothing can turn 'A follows B' into 'attend to where A stands'.",
    figure="the derivation loses positional information",
)
def types_cannot_choose_positions(evidence: Measurements) -> list[Finding]:
    """Compare how often a head that uses only token identity picks the most expected key with random picking."""
    gain = {
        name: by_unit(evidence, part, "match", arm=name) - by_unit(evidence, part, "chance", arm=name)
        for part, name in (("model", "corrected"), ("affinity", "normalised"))
    }
    message = "Matches of a derived head that knows no position, minus those of a random key"
    return [
        below(over_units(gain["corrected"]), EQUAL, f"{message}, log P.", unit="share"),
        beside(over_units(gain["normalised"]), f"{message}, M.", unit="share"),
    ]


@register(
    section=ROOT,
    sentence="Embeddings of n-grams are those of their last token, made longer or shorter.",
    figure="E^n = P E: scaling does not change direction",
)
def ngram_embeddings_keep_direction(evidence: Measurements) -> list[Finding]:
    """Compute the cosine between the embedding of a token pair and that of its last token."""
    message = "Mean cosine with the embedding of the last token."
    return [identity(above(number(evidence, "ngram_to_token"), 0.999, message))]


@register(
    section=ROOT,
    sentence="Similar n-grams have orthogonal embeddings.",
    figure="still orthogonal",
)
def similar_ngrams_are_orthogonal(evidence: Measurements) -> list[Finding]:
    """Compute the cosine of different token pairs with the same last token; other pairs are reported for comparison."""
    return [
        identity(below(number(evidence, "ngram_same_last"), UNRELATED, "Cosine of pairs that end in the same token.")),
        beside(number(evidence, "ngram_other_last"), "Mean size of the cosine of pairs that end in different tokens."),
    ]


@register(
    section=ROOT,
    sentence="Contexts of two tokens do not reach attention.",
    figure="layers from 1 on: match 0 to 20 %",
)
def contexts_of_two_are_lost(evidence: Measurements) -> list[Finding]:
    """Test whether a two-token head with its original embeddings has a skill below a quarter at its best
    temperature.
    """
    kept, last, both = (
        over_units(skill(evidence, "pairs", arm))
        for arm in ("kept, best temperature", "log P, last token", "log P, both tokens")
    )
    return [
        below(kept, 0.25, "Skill at the best temperature of the published matrices, embeddings kept.",
              null="uniform attention: 0"),
        beside(last, "The same of log P read by the last token alone."),
        beside(both, "Log P read by both tokens."),
    ]  # fmt: skip


@register(
    section=SHOULD,
    sentence="So attention is uniform, or nearly so.",
    figure="Q.K about 0 for all keys",
)
def attention_becomes_uniform(evidence: Measurements) -> list[Finding]:
    """Test whether the first layer's entropy at scale .01 is above .99 of its maximum."""
    own, kept = (
        over_units(by_unit(evidence, "sweep", "of_ceiling", arm=arm, std=PUBLISHED, layer=0))
        for arm in ("published", "kept")
    )
    return [
        above(own, 0.99, "Entropy over its causal ceiling, first layer as published."),
        beside(kept, "The same, embeddings kept."),
    ]


@register(
    section=CONCLUSION,
    sentence="The fixed deviation makes attention uniform anyway, whatever else is mended.",
    figure="conclusion 3",
)
def deviation_makes_uniform_anyway(evidence: Measurements) -> list[Finding]:
    """Test whether the first layer, with its original embeddings at scale .01, gains less than .02 nat over uniform."""
    kept = over_units(beyond_uniform(evidence, "heads", "kept", std=PUBLISHED, layer=0))
    factor = over_units(by_unit(evidence, "model", "factor", arm="kept, best temperature"))
    return [
        below(
            kept, EQUAL, "KL of uniform attention minus that of the first layer at .01, embeddings kept.", unit="nat"
        ),
        beside(factor, "Factor on its first head's logits at which KL is least.", unit="x"),
    ]
