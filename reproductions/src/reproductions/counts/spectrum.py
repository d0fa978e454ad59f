"""Claims on the singular values of the count matrix and their effect on scores."""

from __future__ import annotations

from functools import partial

import numpy as np

from heedful.evaluation.result import Finding
from reproductions.counts.geometry import TOLERANCE, number, of_each_text
from reproductions.counts.tables import band, by_unit, over_units
from reproductions.deciding import below, beside, identity, within
from reproductions.evidence import Measurements
from reproductions.published import published

register = partial(published, note="000", section="3, decomposition")
CAUSE = "root cause"


@register(sentence="Of the matrix of counts 22 % of the entries are not 0.", figure="22.4 %")
def density_is_a_fifth(evidence: Measurements) -> list[Finding]:
    """Test whether the density of the count matrix is reproduced within a quarter on other texts."""
    return [
        within(number(evidence, "density"), *band(0.224), "Share of entries of M that are not 0."),
        *of_each_text(evidence, "density"),
    ]


@register(sentence="The top singular values are tiny.", figure=".018, .021, .023; all .018 to .035")
def top_singular_values_are_tiny(evidence: Measurements) -> list[Finding]:
    """Test the size of the largest singular value."""
    message = "Largest singular value: it is 1 for any counts, on the roots of the marginals."
    return [
        identity(below(number(evidence, "singular_1"), 0.05, message)),
        *(beside(number(evidence, f"singular_{place}"), f"Singular value {place}.") for place in (2, 4)),
        *(
            beside(
                number(evidence, f"singular_end_{place}"),
                f"The {word} that is kept: the note printed these as the top.",
            )
            for place, word in ((1, "smallest"), (2, "second smallest"))
        ),
    ]


@register(sentence="The matrix is very well conditioned.", figure="condition number .02")
def matrix_is_well_conditioned(evidence: Measurements) -> list[Finding]:
    """Test whether the log of the condition number, which is never negative, is below 1."""
    condition = by_unit(evidence, "structure", "condition")
    message = f"Log (base 10) of the condition of the components kept; its median is {np.median(condition):.3g}."
    return [
        below(over_units(np.log10(condition)), 1.0, message),
        beside(number(evidence, "condition_inverted"), "The inverse of the condition, which was published."),
        *of_each_text(evidence, "condition_inverted"),
        beside(number(evidence, "rank"), "Rank of the whole matrix, of 85: whole, its condition is infinite."),
    ]


@register(sentence="Factors are orthonormal, and the decomposition right.", figure="error below .000001")
def factors_are_orthonormal(evidence: Measurements) -> list[Finding]:
    """Measure the largest deviation of the factors from orthonormality, and of ``M v`` from ``s u``."""
    return [
        identity(below(number(evidence, "orthogonality"), TOLERANCE, "Largest entry of U'U - 1 and of V'V - 1.")),
        identity(below(number(evidence, "residual"), TOLERANCE, "Largest residual of a component.")),
    ]


@register(
    sentence="Small singular values make the weights small, and so the scores.",
    figure=".018 to .035, so small weights",
)
def small_singular_values_make_scores_small(evidence: Measurements) -> list[Finding]:
    """Test whether dividing all singular values by ten, at fixed standard deviation, shrinks the scores."""
    message = "Mean score with every singular value a tenth, over that with all as they are, matrices of deviation .01."
    return [identity(below(number(evidence, "size_ratio_tenth"), 0.9, message, unit="x"))]


@published(
    note="000",
    section=CAUSE,
    sentence="Magnitude is reduced twice: by the roots of the singular values, then by the fixed deviation.",
    figure="makes attention scores tiny",
)
def magnitude_is_reduced_twice(evidence: Measurements) -> list[Finding]:
    """Test whether scores grow without the roots of the singular values, at fixed standard deviation."""
    ratio = by_unit(evidence, "structure", "size_ratio_without_values")
    message = "Mean score with the roots of the singular values over that without them, matrices of deviation .01."
    raw = over_units(by_unit(evidence, "structure", "query_std") / 0.01)
    return [
        below(over_units(1 / ratio), 0.9, message, unit="x"),
        beside(raw, "Deviation of the raw query projection over .01: what the one reduction takes.", unit="x"),
    ]
