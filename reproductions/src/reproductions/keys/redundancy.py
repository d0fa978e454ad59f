"""Claims on the similarity of keys: diversity in early layers, collapse in deep layers, and its nature."""

from __future__ import annotations

import polars

from heedful.evaluation.result import Finding
from heedful.inference.interval import student_t
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements
from reproductions.keys import tables
from reproductions.published import published


@published(
    note="002",
    section="section 3",
    sentence="Keys of the first two layers stay diverse.",
    figure="cosine near .05",
)
def early_keys_stay_diverse(evidence: Measurements) -> list[Finding]:
    """Test the raw cosine between keys of a sequence in early layers at the end of training."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    heads = tables.of_layers(tables.key_heads(table, [tables.last_step(table)]), [0, 1])
    own = [tables.mean_over_heads(tables.of_layers(heads, [layer]), "cosine") for layer in (0, 1)]
    message = f"Cosine of two keys of a sequence in layers 0 and 1 at step {tables.last_step(table)}, over key heads."
    return [
        below(tables.mean_over_heads(heads, "cosine"), 0.1, message, unit="cosine", null="0"),
        *(beside(one, f"Layer {layer} alone.", unit="cosine") for layer, one in enumerate(own)),
    ]


@published(
    note="002",
    section="section 3",
    sentence="Keys of deep layers converge: their cosine ends above one half.",
    figure="above .5",
)
def deep_keys_collapse(evidence: Measurements) -> list[Finding]:
    """Test the raw cosine of deep layers at the end, and whether it rose above its initial value."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    first, last = (_deep(table, step) for step in (tables.first_step(table), tables.last_step(table)))
    start = float(tables.mean_over_heads(first, "cosine").estimate)
    message = (
        f"Cosine of two keys of a sequence over key heads of middle and final layers at step {tables.last_step(table)}."
    )
    rise = "Its change from the first step, before any training, over the same heads."
    return [
        tables.at_this_scale(
            above(tables.mean_over_heads(last, "cosine"), 0.5, message, unit="cosine", null="0"), table
        ),
        tables.at_this_scale(
            above(tables.change(first, last, "cosine"), 0.0, rise, unit="cosine", null=f"{start:.2f} untrained"), table
        ),
    ]


@published(
    note="002",
    section="section 3, mechanism",
    sentence="Deep keys are alike beyond a vector that all of them share.",
    figure="cosine above .5, not centred",
)
def deep_keys_are_alike_beyond_their_mean(evidence: Measurements) -> list[Finding]:
    """Test the cosine after subtracting each sequence's mean key, which has no effect on attention."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    heads = _deep(table, tables.last_step(table))
    raw = tables.mean_over_heads(heads, "cosine")
    rank = tables.mean_over_heads(heads, "effective_rank")
    message = (
        "Cosine of two keys about the mean key of their sequence, over key heads of middle and final layers: a vector "
        "that all keys share changes no weight."
    )
    return [
        above(tables.mean_over_heads(heads, "centred_cosine"), 0.5, message, unit="cosine",
              null=f"0; raw {float(raw.estimate):.2f}"),
        beside(rank, "Directions that these keys vary in, of 64: few, so that they may be redundant though not alike.",
               unit="directions"),
    ]  # fmt: skip


@published(
    note="002",
    section="section 3, method",
    sentence="The likeness of keys before rotation is the likeness that attention meets.",
    figure="keys were measured before rotation",
)
def rotation_keeps_likeness(evidence: Measurements) -> list[Finding]:
    """Compare the cosine of keys before and after rotary positions, by head."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    step = tables.last_step(table)
    before, after = (tables.key_heads(table, [step], stage) for stage in ("before", "after"))
    paired = before.join(after, on=tables.PLACE, suffix="_after").with_columns(
        (polars.col("cosine") - polars.col("cosine_after")).abs().alias("lost")
    )
    message = f"Absolute difference of a head's cosine before and after rotation at step {step}, over layers."
    return [below(tables.mean_over_layers(paired, "lost"), 0.02, message, unit="cosine", null="0")]


@published(
    note="002",
    section="section 3, method",
    sentence="Ten random pairs of one head tell how alike the keys of a layer are.",
    figure="10 pairs a step (sd .036 from step to step)",
)
def ten_pairs_tell_likeness(evidence: Measurements) -> list[Finding]:
    """Measure the error of a mean cosine estimated from ten pairs of one head instead of all pairs and heads."""
    found = evidence.document("ten-pairs")
    error = student_t(found["error_by_layer"])
    message = (
        "Root mean square error of ten random pairs of a random head against all pairs of all heads of the layer, over "
        f"layers; the largest is {max(found['error_by_layer']):.2f}."
    )
    return [below(error, 0.036, message, unit="cosine", null="the published sd, .036")]


def _deep(table: polars.DataFrame, step: int) -> polars.DataFrame:
    groups = tables.groups(table)
    return tables.of_layers(tables.key_heads(table, [step]), groups["middle"] + groups["final"])
