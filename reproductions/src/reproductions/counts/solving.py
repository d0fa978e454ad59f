"""Test the solutions of note 003: co-occurrence embeddings, direct attention, another derivation."""

from __future__ import annotations

from functools import partial

from heedful.evaluation.result import Finding
from reproductions.counts.fixes import GAIN, saved
from reproductions.counts.tables import EQUAL, by_unit, over_units, skill
from reproductions.deciding import above, below, beside, identity
from reproductions.evidence import Measurements
from reproductions.published import published

WIDE, NARROW = 256, (16, 32)

register = partial(published, note="003")


@register(
    section="option 1",
    sentence="Embeddings must encode co-occurrence for attention to follow the counts.",
    figure="if embeddings don't encode the n-gram structure, attention won't align",
)
def embeddings_must_encode_co_occurrence(evidence: Measurements) -> list[Finding]:
    """Test whether random embeddings of width 256 give a skill below one half."""
    random = over_units(skill(evidence, "embedding", f"random_unit {WIDE} log P"))
    plain = over_units(saved(evidence, "embedding", f"ppmi_vectors {WIDE} M", f"random_unit {WIDE} M"))
    return [
        below(random, 0.5, f"Skill with random embeddings of width {WIDE}, log P read by least squares.",
              null="uniform attention: 0"),
        beside(plain, f"KL with embeddings of co-occurrence minus random ones, M, width {WIDE}.", unit="nat"),
        *(
            beside(
                over_units(
                    saved(evidence, "embedding", f"log_probability_factors {width} log P", f"random_unit {width} log P")
                ),
                f"KL with factors of log P as embeddings minus random ones, width {width}.", unit="nat",
            )
            for width in NARROW
        ),
    ]  # fmt: skip


@register(
    section="option 1",
    sentence="In few dimensions embeddings that encode the counts are better.",
    figure="learned embeddings: tokens that co-occur are similar",
)
def factor_embeddings_help_in_few_dimensions(evidence: Measurements) -> list[Finding]:
    """Compare matrix factors with random embeddings in fewer dimensions than tokens, at best temperatures."""
    message = "KL with factors of M as embeddings minus random ones, M at its best temperature, width"
    return [
        below(
            over_units(saved(evidence, "embedding", f"normalised_factors {width} M", f"random_unit {width} M")),
            -GAIN, f"{message} {width}.", unit="nat",
        )
        for width in NARROW
    ]  # fmt: skip


@register(
    section="option 1",
    sentence="Similar embeddings of tokens that co-occur would make attention follow the counts.",
    figure="tokens that co-occur have similar embeddings",
)
def likeness_of_companions_aligns(evidence: Measurements) -> list[Finding]:
    """Test whether attention by similarity of co-occurrence (PPMI) embeddings has skill at its best temperature."""
    message = "Skill of attention by likeness of PPMI embeddings at its best temperature, width"
    return [
        above(over_units(skill(evidence, "embedding", f"likeness {width}")), EQUAL, f"{message} {width}.",
              null="uniform attention: 0")
        for width in (64, WIDE)
    ]  # fmt: skip


@register(
    section="option 2",
    sentence="Attention computed from the counts at run time, without projections, aligns.",
    figure="directly compute position attention",
)
def direct_attention_aligns(evidence: Measurements) -> list[Finding]:
    """Compare attention computed directly from counts with counts of other text, for one and two tokens."""
    one, two = (
        over_units(skill(evidence, part, arm))
        for part, arm in (("unseen", "log_probability_backoff"), ("pairs", "looked up, unseen counts"))
    )
    return [
        above(one, 0.5, "Skill against the counts of another slice, contexts of one token.",
              null="uniform attention: 0"),
        above(two, 0.5, "The same, contexts of two tokens."),
    ]  # fmt: skip


@register(
    section="option 2",
    sentence="Only that gives up the derivation: queries and keys cannot do it.",
    figure="but this loses the theoretical foundation",
)
def direct_attention_needs_to_leave_the_derivation(evidence: Measurements) -> list[Finding]:
    """Test whether derived queries and keys (log P, 64 dimensions) leave a KL above .02 nat."""
    error = over_units(by_unit(evidence, "affinity", "identity_error", arm="log P"))
    left = over_units(by_unit(evidence, "model", "divergence", arm="corrected"))
    return [
        above(
            left, GAIN, "KL of a model's head with derived queries and keys from what the counts expect.", unit="nat"
        ),
        identity(beside(error, "Largest difference of a weight of softmax(log P) from expected attention.")),
    ]


@register(
    section="option 3",
    sentence="Counts used differently in the derivation give attention that aligns.",
    figure="maybe use the count matrices differently",
)
def another_derivation_aligns(evidence: Measurements) -> list[Finding]:
    """Test a derivation from log P in a whole model with layer norm, on its own counts and on those of other text."""
    model = over_units(skill(evidence, "model", "corrected"))
    unseen = {name: over_units(skill(evidence, "unseen", name)) for name in ("log_probability_backoff", "normalised")}
    return [
        above(model, 0.9, "Skill of the first head of a model derived from log P.", null="uniform attention: 0"),
        above(unseen["log_probability_backoff"], 0.5, "Skill of log P against the counts of another slice."),
        beside(unseen["normalised"], "The same of M at its best temperature."),
    ]


@register(
    section="option 3",
    sentence="A derivation that keeps where tokens stand gives heads that follow contexts of two.",
    figure="preserve positional relationships",
)
def reading_both_tokens_follows_pairs(evidence: Measurements) -> list[Finding]:
    """Compare the KL of queries that use the last two tokens with that of the last token alone."""
    message = "KL of queries of both tokens minus those of the last token at its best temperature, log P."
    return [
        below(
            over_units(saved(evidence, "pairs", "log P, both tokens", "log P, last token")), -GAIN, message, unit="nat"
        ),
        *(
            beside(over_units(skill(evidence, "pairs", arm)), word)
            for arm, word in (
                ("log P, both tokens", "Skill of queries of both tokens."),
                ("looked up", "Skill of the whole table of pairs, which no sum over tokens is."),
            )
        ),
    ]
