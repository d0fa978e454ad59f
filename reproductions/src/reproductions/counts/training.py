"""Claims of the notes on trained derived models, tested on the runs of ``docs/experiments/derived_training.md``."""

from __future__ import annotations

import polars

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval, bootstrap_t
from reproductions.counts.spectrum import CAUSE
from reproductions.counts.tables import EQUAL
from reproductions.counts.trained import DRIFT, LOSSES
from reproductions.deciding import above, below, beside, within
from reproductions.evidence import Measurements, NotMeasured
from reproductions.published import published

EQUAL_LOSS = 0.01
"""Nats a character within which two losses are the same; fixed before the runs."""

HALF = 0.5
"""Skill under which more than half of what the derivation gave is gone."""

LEARNT, FROZEN, LINKED = "content, embeddings learnt", "content, frozen", "content, embeddings linked"


def apart(evidence: Measurements, cell: str, other: str) -> Interval:
    """Return held-out loss of one cell minus another in nats, paired by seed and document, with an interval over
    documents.

    Args:
        evidence: Measurements.
        cell: The one.
        other: The other.

    Raises:
        NotMeasured: No document was held out from both with one seed.
    """
    table = evidence.table(LOSSES)
    one, two = (table.filter(polars.col("cell") == name) for name in (cell, other))
    pairs = one.join(two, on=("seed", "document"), suffix="_other")
    if pairs.is_empty():
        raise NotMeasured(f"{cell} beside {other}")
    differences = pairs.group_by("document").agg((polars.col("loss") - polars.col("loss_other")).mean())
    return bootstrap_t(differences.sort("document")["loss"].to_numpy()[:, None], seed=0).at(0)


def skill_of(evidence: Measurements, cell: str) -> Interval:
    """Return the first layer's skill against the counts after the last step, averaged over seeds and heads.

    Its bounds are the outermost of the intervals over documents that each seed's heads have, so that they hold for
    every one of them: with few seeds an interval over seeds says little of a number with a long tail.

    Args:
        evidence: Measurements.
        cell: The cell.

    Raises:
        NotMeasured: No run of the cell has it.
    """
    table = evidence.table(DRIFT).filter((polars.col("cell") == cell) & (polars.col("layer") == 0))
    table = table.filter(polars.col("step") == table["step"].max())
    if table.is_empty():
        raise NotMeasured(f"drift of {cell}")
    mean, low, high = table.select(
        polars.col("skill").mean(), polars.col("skill_low").min(), polars.col("skill_high").max()
    ).row(0)
    return Interval(estimate=mean, low=low, high=high, units=table["seed"].n_unique(), level=0.95)


@published(
    note="000",
    section=CAUSE,
    sentence="With frozen embeddings, a model with derived attention is as good as one without attention.",
    figure="sparse is about zero",
)
def derived_attention_equals_none(evidence: Measurements) -> list[Finding]:
    """Test whether derived attention and no attention have the same held-out loss within .01 nat."""
    message = "Held-out loss with derived attention minus that without any"
    return [
        within(apart(evidence, "published", "published, none"), -EQUAL_LOSS, EQUAL_LOSS, f"{message}, as published.",
               unit="nat/character"),
        beside(apart(evidence, "published, kept", "published, kept, none"), f"{message}, its embeddings kept.",
               unit="nat/character"),
        beside(apart(evidence, "one layer, offset", "one layer, none"),
               f"{message}: heads looking 0 to 3 back and add log ratios, no norm at the head.", unit="nat/character"),
    ]  # fmt: skip


@published(
    note="003",
    section="option 4",
    sentence="Embeddings that learn under frozen attention come to agree with the counts.",
    figure="proposed, not tried",
)
def learnable_embeddings_align(evidence: Measurements) -> list[Finding]:
    """Test the first layer's skill after 300 steps with trainable embeddings; the loss difference is reported too."""
    return [
        above(skill_of(evidence, LEARNT), EQUAL, "Skill of the first layer after 300 steps, every head and seed.",
              null="uniform attention: 0; .999 before the first step"),
        beside(apart(evidence, LEARNT, FROZEN), "Held-out loss, embeddings learnt minus frozen.", unit="nat/character"),
        beside(apart(evidence, LEARNT, "all learnt, none"), "The same minus learnt embeddings without any attention.",
               unit="nat/character"),
    ]  # fmt: skip


@published(
    note="003",
    section="option 4",
    sentence="Embeddings that learn part from the matrices that were made for them.",
    figure="but this breaks the theoretical foundation",
)
def learning_embeddings_breaks_the_derivation(evidence: Measurements) -> list[Finding]:
    """Test whether training the embeddings leaves less than half of the first layer's skill."""
    return [
        below(skill_of(evidence, LEARNT), HALF, "Skill of the first layer after 300 steps, every head and seed.",
              null=".999 before the first step"),
        beside(skill_of(evidence, LINKED), "The same where matrices follow the embeddings."),
        beside(apart(evidence, LINKED, FROZEN), "Held-out loss of that, minus frozen embeddings.",
               unit="nat/character"),
    ]  # fmt: skip
