"""Claims on the geometry of queries and keys: symmetry, orthogonality, and their effect on attention scores."""

from __future__ import annotations

from functools import partial

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from reproductions.counts.scales import ARM
from reproductions.counts.sweeping import PUBLISHED
from reproductions.counts.tables import band, by_text, by_unit, over_units
from reproductions.deciding import above, below, beside, identity, within
from reproductions.evidence import Measurements
from reproductions.published import published

TOLERANCE = 1e-6
"""Of the note's test of symmetry and of orthogonality."""

SEED = "Fixed by seed 42"

register = partial(published, note="000", section="2, queries and keys")


def number(evidence: Measurements, measure: str, arm: str = "") -> Interval:
    """A number of the matrix, its factors or its projections, over texts."""
    return over_units(by_unit(evidence, "structure", measure, arm=arm))


def of_each_text(evidence: Measurements, measure: str) -> list[Finding]:
    """Return one finding per text with the measurement, for figures that depend on the text."""
    found = by_text(evidence, "structure", measure)
    ends = sorted(found, key=lambda text: found[text])
    message = f"From {found[ends[0]]:.3f} ({ends[0]}) to {found[ends[-1]]:.3f} ({ends[-1]}) over texts."
    return [beside(number(evidence, measure), message, detail={"by_text": found})]


@register(sentence="The matrix of counts is not symmetric.", figure="M differs from its transpose by more than 1e-6")
def affinity_is_not_symmetric(evidence: Measurements) -> list[Finding]:
    """Test the asymmetry of the count matrix: max |M - M^T| / max |M|."""
    message = "Largest difference of M from its transpose, over the largest entry."
    return [above(number(evidence, "asymmetry"), TOLERANCE, message)]


@register(
    sentence="So queries and keys read different subspaces: left and right factors have nothing in common.",
    figure="U differs from V",
)
def queries_and_keys_read_different_subspaces(evidence: Measurements) -> list[Finding]:
    """Test whether the eight leading query and key directions overlap at most twice as much as by chance."""
    chance = number(evidence, "leading_chance")
    message = "Share of the eight leading left directions that lies in the eight leading right ones."
    return [
        below(number(evidence, "leading_overlap"), 2 * float(chance.estimate), message, null="random: 8/85 = 0.094"),
        beside(
            number(evidence, "frequency_cosine"), "Cosine of the first pair of factors, the roots of the marginals."
        ),
    ]


@register(
    sentence="Embeddings are nearly orthogonal.",
    figure="products of all pairs: mean .0145, deviation .124",
)
def embeddings_are_nearly_orthogonal(evidence: Measurements) -> list[Finding]:
    """Test whether the note's mean and SD of embedding products are reproduced to the last digit with its seed."""
    noted = {name: number(evidence, name, "seed 42") for name in ("similarity_mean", "similarity_std")}
    return [
        identity(within(noted["similarity_mean"], 0.01445, 0.01455, "Mean product of all 85 x 85 pairs.",
                        null="each with itself among them: 1/85 = 0.0118"), SEED),
        identity(within(noted["similarity_std"], 0.1235, 0.1245, "Their standard deviation.",
                        null="root of 1/85 + 1/256: 0.125"), SEED),
        identity(beside(number(evidence, "apart_mean", "seed 42"), "Mean of different embeddings alone."), SEED),
        beside(number(evidence, "apart_std"), "Deviation of different embeddings, other seeds.",
               null="1 / root of 256: 0.0625"),
    ]  # fmt: skip


@register(
    sentence="Low similarity of the embeddings makes scores small.",
    figure=".014, so small attention scores",
)
def near_orthogonality_weakens_scores(evidence: Measurements) -> list[Finding]:
    """Compare the SD of scores in a row between orthonormal and random embeddings."""
    exact, random = (by_unit(evidence, "structure", name) for name in ("spread_orthonormal", "spread"))
    fit, chance = (number(evidence, name) for name in ("correlation_orthonormal", "correlation"))
    message = "Deviation of scores in a row: orthonormal embeddings over random ones, which are alike by chance."
    return [
        below(over_units(exact / random), 1.0, message, unit="x"),
        beside(fit, "Correlation of scores with M, rows centred, orthonormal embeddings: what is less is noise."),
        beside(chance, "The same with random embeddings of length 1."),
    ]


@register(
    sentence="Factors are not aligned with embeddings: the decomposition finds structure that embeddings lack.",
    figure="mean similarity -.0015 (U) and -.0008 (V)",
)
def factors_ignore_embeddings(evidence: Measurements) -> list[Finding]:
    """Test how large a share of the singular vectors lies in the span of the embeddings."""
    message = "Share of the left factors that lies in the span of the embeddings."
    return [
        identity(below(number(evidence, "left_in_span"), 0.1, message, null="85 tokens in 256 dimensions: 1")),
        *(
            beside(number(evidence, f"{name}_mean"), f"Mean of products with the embeddings' coordinates, {word}.")
            for name, word in (("left", "U"), ("right", "V"), ("random", "random orthonormal vectors"))
        ),
    ]


@register(
    sentence="The largest entry of the product of the two projections is about 1.",
    figure="mean .0007, largest 1.02",
)
def largest_product_is_one(evidence: Measurements) -> list[Finding]:
    """Test whether the largest entry of ``W_Q^T W_K`` of raw weights is one; its mean is reported too."""
    message = "Largest entry of the product of the raw projections."
    return [
        within(number(evidence, "product_largest"), *band(1.02), message),
        beside(number(evidence, "product_mean"), "Mean entry."),
    ]


@register(
    sentence="Its diagonal is small: a query direction and its key direction differ.",
    figure=".004, .003, .008, ...",
)
def diagonal_of_products_is_small(evidence: Measurements) -> list[Finding]:
    """Test the product's diagonal entry for the largest singular value; the note printed those for the smallest."""
    return [
        below(number(evidence, "product_first"), 0.1, "Entry of the leading direction."),
        beside(
            number(evidence, "product_end"), "Mean size of the three of the smallest singular values, as published."
        ),
    ]


@register(sentence="Raw projections have a standard deviation of .025.", figure="W_Q .0252, W_K .0250")
def raw_projections_are_small(evidence: Measurements) -> list[Finding]:
    """Test whether the size of raw projections is reproduced within a quarter on other texts."""
    return [
        within(number(evidence, f"{name}_std"), *band(0.025), f"Deviation of the raw {name} projection.")
        for name in ("query", "key")
    ]


@register(sentence="Equal columns of the two projections have a cosine of .12.", figure=".120: low but not 0")
def column_cosine_is_an_eighth(evidence: Measurements) -> list[Finding]:
    """Test whether the mean cosine of equal columns is reproduced within a quarter on other texts."""
    return [
        within(number(evidence, "column_cosine"), *band(0.12), "Mean cosine of equal columns."),
        *of_each_text(evidence, "column_cosine"),
    ]


@register(
    sentence="That cosine says how strong scores are.",
    figure="low similarity, so small attention scores",
)
def column_cosine_sets_scores(evidence: Measurements) -> list[Finding]:
    """Test whether rotating the head's basis, which changes no score, changes the column cosine by less than .02."""
    own, other = (by_unit(evidence, "structure", name) for name in ("column_cosine", "column_cosine_other_basis"))
    message = "Cosine of equal columns in a turned basis minus that in the first; every score is the same."
    return [
        within(over_units(other - own), -0.02, 0.02, message),
        identity(beside(number(evidence, "scores_moved"), "Largest change of a score by it, over the largest score.")),
    ]


@register(
    sentence="A mean cosine of queries and keys of .014 makes attention uniform.",
    figure=".014 at scale .01",
)
def query_key_cosine_makes_attention_uniform(evidence: Measurements) -> list[Finding]:
    """Test whether entropy stays near its maximum at scale 1, where the mean query-key cosine is as at scale .01."""
    cosine = {
        std: by_unit(evidence, "sweep", "query_key_cosine", arm=ARM, std=std, layer=0) for std in (PUBLISHED, 1.0)
    }
    share = over_units(by_unit(evidence, "sweep", "of_ceiling", arm=ARM, std=1.0, layer=0))
    return [
        above(share, 0.9, "Entropy over its ceiling at scale 1, first layer."),
        beside(over_units(cosine[PUBLISHED]), "Mean cosine of all queries and keys at .01, bare embeddings."),
        identity(beside(over_units(cosine[1.0] - cosine[PUBLISHED]), "That at 1 minus that at .01.")),
    ]
