"""Read the tracker's tables for the claims: one row per layer and key head, averaged over records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval, student_t
from heedful.inference.verdict import Verdict
from reproductions.evidence import Measurements, NotMeasured

KEYS = (
    "norm_mean", "largest_share", "global_max", "participation", "participation_null", "cosine", "centred_cosine",
    "effective_rank", "vectors",
)  # fmt: skip
ROWS = ("entropy_share", "logit_sd", "sink_mass", "max_weight")
PLACE = ("layer", "head")
NOTE_RUN = "note-0"
"""The run of the note's own sizes."""
TOKENS = "512 tokens a step"
"""How much of the text a step of that run saw."""


def whole_runs(evidence: Measurements, pattern: str, least: int) -> list[Path]:
    """Return the completed runs whose names match a pattern, at least ``least`` of them.

    Args:
        evidence: The measurements.
        pattern: Names of the runs.
        least: How many it takes.

    Raises:
        NotMeasured: There are fewer.
    """
    found = [run for run in evidence.runs(pattern) if (run / "held_out.json").exists()]
    if len(found) < least:
        raise NotMeasured(f"{pattern}, {least} runs")
    return found


def records(run: Path) -> polars.DataFrame:
    """Read the table of a run.

    Args:
        run: Its folder.

    Raises:
        NotMeasured: A tracker recorded nothing there.
    """
    from heedful.monitoring.tracker.table import read_table

    table = read_table(run)
    if table.is_empty():
        raise NotMeasured(run.name)
    return table


def first_step(table: polars.DataFrame) -> int:
    """Return the first recorded step."""
    return int(table["step"].to_numpy().min())


def last_step(table: polars.DataFrame) -> int:
    """Return the last recorded step."""
    return int(table["step"].to_numpy().max())


def nearest_step(table: polars.DataFrame, step: int) -> int:
    """Return the recorded step nearest to ``step``."""
    steps = table["step"].unique().to_numpy()
    return int(steps[np.abs(steps - step).argmin()])


def key_heads(table: polars.DataFrame, steps: list[int] | None = None, stage: str = "before") -> polars.DataFrame:
    """Return one row per key head: key statistics and those of the query heads that use it, averaged over steps.

    Args:
        table: Records of a run.
        steps: Which of them; None for all.
        stage: ``before`` or ``after`` rotation; ``after`` where nothing was recorded before it.
    """
    some = table if steps is None else table.filter(polars.col("step").is_in(steps))
    keys = some.filter(polars.col("part") == "key")
    keys = keys.filter(polars.col("stage") == (stage if stage in keys["stage"].to_list() else "after"))
    found = _means(keys, KEYS)
    queries = query_heads(table, steps)
    sharing = (
        queries.group_by("layer")
        .agg(polars.col("head").n_unique().alias("queries"))
        .join(found.group_by("layer").agg(polars.col("head").n_unique().alias("keys")), on="layer")
    )
    shared = queries.join(sharing, on="layer").with_columns(
        (polars.col("head") // (polars.col("queries") // polars.col("keys"))).cast(polars.Int32).alias("head")
    )
    return found.join(_means(shared, ROWS), on=PLACE).sort(PLACE)


def query_heads(table: polars.DataFrame, steps: list[int] | None = None) -> polars.DataFrame:
    """Return one row per query head: attention statistics averaged over steps.

    Args:
        table: Records of a run.
        steps: Which of them; None for all.
    """
    some = table if steps is None else table.filter(polars.col("step").is_in(steps))
    return _means(some.filter(polars.col("part") == "attention"), ROWS).sort(PLACE)


def _means(frame: polars.DataFrame, names: tuple[str, ...]) -> polars.DataFrame:
    return frame.group_by(*PLACE).agg(polars.col(name).cast(polars.Float64).mean() for name in names)


def of_layers(heads: polars.DataFrame, layers: list[int]) -> polars.DataFrame:
    """Select the heads of the given layers."""
    return heads.filter(polars.col("layer").is_in(layers))


def groups(table: polars.DataFrame) -> dict[str, list[int]]:
    """Return the layers of the groups "early", "middle" and "final", two each, as the note groups them."""
    count = int(table["layer"].drop_nulls().to_numpy().max()) + 1
    half = count // 2
    return {"early": [0, 1], "middle": [half, half + 1], "final": [count - 2, count - 1]}


def mean_over_heads(heads: polars.DataFrame, name: str) -> Interval:
    """Return the mean over heads with Student's interval."""
    return student_t(heads[name].to_numpy())


def mean_over_layers(heads: polars.DataFrame, name: str) -> Interval:
    """Return the mean over layers of head means, with Student's interval over layers."""
    layers = heads.group_by("layer").agg(polars.col(name).mean()).sort("layer")
    return student_t(layers[name].to_numpy())


def change(before: polars.DataFrame, after: polars.DataFrame, name: str) -> Interval:
    """Return the mean change over heads with Student's interval.

    Args:
        before: Heads as they were.
        after: The same heads.
        name: Column.
    """
    paired = before.join(after, on=PLACE, suffix="_after")
    return student_t((paired[f"{name}_after"] - paired[name]).to_numpy())


def at_this_scale(finding: Finding, table: polars.DataFrame) -> Finding:
    """Downgrade ABSENT to INSUFFICIENT for effects that grow with training, because a short run cannot refute them.

    Args:
        finding: The part.
        table: Records of the run.
    """
    if finding.verdict != Verdict.ABSENT:
        return finding
    message = f"{finding.reason} Not so by step {last_step(table)}, {TOKENS}; the note's run saw 8 million."
    return replace(finding, verdict=Verdict.INSUFFICIENT, reason=message)
