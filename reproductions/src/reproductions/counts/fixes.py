"""Test the remedies that note 000 proposes: other scales, raw weights, other matrices, other embeddings."""

from __future__ import annotations

from functools import partial

import numpy as np

from heedful.evaluation.result import Finding
from reproductions.counts.spectrum import CAUSE
from reproductions.counts.tables import EQUAL, beyond_uniform, by_unit, over_units, skill
from reproductions.deciding import above, below, beside, identity, within
from reproductions.evidence import Measurements
from reproductions.published import published

FIX, ADVICE = "the fix", "recommendations"
GAIN = 0.02
"""Nats of KL that a proposal must save."""

register = partial(published, note="000")


def saved(evidence: Measurements, part: str, arm: str, than: str) -> np.ndarray:
    """Return KL of variant ``arm`` minus KL of variant ``than``, in nats per text slice; negative if ``arm`` is
    better.
    """
    one, other = (by_unit(evidence, part, "divergence", arm=name) for name in (arm, than))
    return np.asarray(one - other)


@register(
    section=CAUSE,
    sentence="The scale is why derived attention does nothing: it carries the counts, only too weakly.",
    figure="normalisation too small",
)
def scale_is_the_root_cause(evidence: Measurements) -> list[Finding]:
    """Test whether the first head has skill at its best temperature, as it must if a wrong scale is the cause."""
    best = {arm: skill(evidence, "model", f"{arm}, best temperature") for arm in ("published", "kept")}
    now = skill(evidence, "model", "kept")
    return [
        above(over_units(best["published"]), EQUAL, "Skill at the best temperature, first head as published.",
              null="uniform attention: 0"),
        beside(over_units(now), "Skill at .01 with the embeddings that its matrices were made for: the root cause."),
        beside(over_units(best["kept"]), "The same at its best temperature."),
    ]  # fmt: skip


@register(
    section=FIX,
    sentence="Raw weights, not normalised, give meaningful attention.",
    figure="option 2, first half",
)
def raw_weights_are_meaningful(evidence: Measurements) -> list[Finding]:
    """Test whether the first head with raw weights has a lower KL than uniform attention."""
    found = {arm: over_units(beyond_uniform(evidence, "model", f"{arm}, raw")) for arm in ("published", "kept")}
    message = "KL of uniform attention minus that of the first head with raw weights"
    return [
        above(found["published"], 0.0, f"{message}, as published.", unit="nat"),
        above(found["kept"], 0.0, f"{message}, embeddings kept.", unit="nat"),
    ]


@register(
    section=FIX,
    sentence="Logits of the size that trained attention has would mend it.",
    figure="option 2, second half",
)
def another_magnitude_mends(evidence: Measurements) -> list[Finding]:
    """Test whether any rescaling of the first head gives skill, by its KL at the best scale."""
    message = "KL at the best of all magnitudes minus KL of uniform attention, first head"
    found = {arm: over_units(-beyond_uniform(evidence, "model", f"{arm}, best temperature"))
             for arm in ("published", "kept")}  # fmt: skip
    return [
        below(found["published"], -GAIN, f"{message} as published.", unit="nat"),
        beside(found["kept"], f"{message}, embeddings kept.", unit="nat"),
    ]


@register(
    section=FIX,
    sentence="Another normalisation of the counts makes the derivation better.",
    figure="option 3: M might need different normalisation",
)
def another_normalisation_helps(evidence: Measurements) -> list[Finding]:
    """Compare other normalisations of the counts with the matrix M, each at its best temperature; log P is decisive."""
    others = ("probability", "sqrt_probability", "degree_regularised", "residual", "pmi", "ppmi")
    message = "KL of logits log P, without any temperature, minus that of M at its best."
    best = over_units(by_unit(evidence, "affinity", "divergence", arm="normalised"))
    return [
        below(over_units(saved(evidence, "affinity", "log_probability", "normalised")), -GAIN, message, unit="nat"),
        beside(best, "KL of M at its best temperature.", unit="nat"),
        *(
            beside(over_units(saved(evidence, "affinity", name, "normalised")), f"{name} minus M.", unit="nat")
            for name in others
        ),
    ]


@register(
    section=FIX,
    sentence="How embeddings are computed must be mended.",
    figure="option 3: the embedding computation might need adjustment",
)
def embeddings_must_be_mended(evidence: Measurements) -> list[Finding]:
    """Test whether keeping the embeddings used in the derivation lowers the KL at the published scale."""
    message = "KL of the first head with its embeddings minus that with replaced ones, scale .01."
    return [
        below(over_units(saved(evidence, "model", "kept", "published")), -GAIN, message, unit="nat"),
        beside(over_units(saved(evidence, "model", "corrected", "kept")),
               "Least squares through the layer norm and log P, minus that.", unit="nat"),
    ]  # fmt: skip


@register(
    section=FIX,
    sentence="The decomposition should keep more dimensions.",
    figure="option 3: 64 of 85 kept",
)
def more_dimensions_help(evidence: Measurements) -> list[Finding]:
    """Compare the KL of the whole count matrix M with that of its 64 components, each at its best temperature."""
    message = "KL of the whole of M minus that of 64 components, each at its best temperature."
    return [
        below(over_units(saved(evidence, "affinity", "normalised", "normalised, rank 64")), -GAIN, message, unit="nat")
    ]


@register(
    section=ADVICE,
    sentence="A symmetric matrix, half of M and its transpose, is better.",
    figure="short-term: analyse if M should be symmetric",
)
def a_symmetric_matrix_is_better(evidence: Measurements) -> list[Finding]:
    """Compare the KL of ``(M + M^T) / 2`` with that of the count matrix M, each at its best temperature."""
    message = "KL of (M + M')/2 minus that of M, each at its best temperature."
    match = over_units(
        by_unit(evidence, "affinity", "match", arm="symmetrised")
        - by_unit(evidence, "affinity", "match", arm="normalised")
    )
    return [
        below(over_units(saved(evidence, "affinity", "symmetrised", "normalised")), 0.0, message, unit="nat"),
        beside(match, "Matches of the most attended key, the same difference.", unit="share"),
    ]


@register(
    section=ADVICE,
    sentence="M is the right matrix: attention by it is what the counts expect.",
    figure="long-term: are we computing the right matrices?",
)
def m_is_the_right_matrix(evidence: Measurements) -> list[Finding]:
    """Test whether the KL of the count matrix M at its best temperature is within .02 nat of zero."""
    error = over_units(by_unit(evidence, "affinity", "identity_error", arm="log P"))
    left = over_units(by_unit(evidence, "affinity", "divergence", arm="normalised"))
    return [
        within(left, 0.0, GAIN, "KL left by exact logits of M at their best temperature.", unit="nat"),
        identity(beside(error, "Largest difference of a weight of softmax(log P) from expected attention.")),
    ]
