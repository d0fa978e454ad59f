"""Read and validate the table rows that the key figures need."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars

from heedful.errors import InputRejected, UsageError
from heedful.loading.regular_file import read_json
from heedful.monitoring.tracker.forward_sums import UNMEASURED
from heedful.monitoring.tracker.table import read_table

KEY = ("norm_mean", "largest_share", "global_max", "cosine", "centred_cosine", "participation_null", "vectors", "pairs")
ATTENTION = ("entropy_share", "logit_sd")
NAMES = ("early", "middle", "final")
MAKE = "record one with heedful.AttentionTracker(model, out=FOLDER), or name checkpoints"


@dataclass(frozen=True)
class KeyRows:
    """Tracker table rows of a run, split into dataframes on keys, rotated keys, attention and norm gains.

    Attributes:
        keys: A row a step, layer and key head, at ``stage``, with its ``group`` of layers.
        rotated: The same after rotation, where ``keys`` are those before it; else empty.
        attention: A row a step, layer and query head.
        gains: A row a step and layer with ``gain_norm`` and ``gain_decay``; empty without key norms.
        stage: ``before`` or ``after`` rotation.
        steps: Steps that were recorded, ascending.
        text: What all steps were measured on, where checkpoints were read over one text; else empty.
        unrotated: Why keys before their rotation are not there, where they are not: reasons, each once.
        notes: What else was noted, on the whole or on a module, each once.
    """

    keys: polars.DataFrame
    rotated: polars.DataFrame
    attention: polars.DataFrame
    gains: polars.DataFrame
    stage: str
    steps: tuple[int, ...]
    text: str = ""
    unrotated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def single(self) -> bool:
        """Whether the table holds only one step."""
        return len(self.steps) == 1

    @property
    def sharing(self) -> list[int]:
        """Numbers of query heads per key head."""
        heads = [
            frame.group_by("layer").agg(polars.col("head").n_unique()).sort("layer")
            for frame in (self.attention, self.keys)
        ]
        both = heads[0].join(heads[1], on="layer", suffix="_keys")
        return sorted({row["head"] // max(1, row["head_keys"]) for row in both.to_dicts()})

    @property
    def groups(self) -> list[str]:
        """Names of the layer groups, in layer order."""
        return list(dict.fromkeys(self.keys.sort("layer")["group"]))

    @property
    def dims(self) -> list[int]:
        """Head dimensions, derived from the expected participation ratio ``(dim + 2) / 3``."""
        return sorted({round(3 * null - 2) for null in self.keys["participation_null"].drop_nulls().unique()})


_CONFIG_BYTES = 1 << 20


def key_rows(run: str | Path) -> KeyRows:
    """Read a run's table and select the rows that the figures on key vectors need.

    Args:
        run: Folder in which a tracker wrote ``attention.parquet``, or such a table by itself.

    Raises:
        InputRejected: There is no such folder or table, it is no tracker's, or it holds no keys.
    """
    return rows_of(run_table(run), str(run))


def run_table(run: str | Path) -> polars.DataFrame:
    """Read the table of a run, which must hold records.

    Args:
        run: Folder in which a tracker wrote ``attention.parquet``, or such a table by itself.

    Raises:
        InputRejected: There is no such folder or table, it is no tracker's, or it is empty.
    """
    run = Path(run)
    if not run.exists():
        raise InputRejected(str(run), "expected a folder with attention.parquet, found no folder", MAKE)
    table = read_table(run)
    config = run / "config.json"
    if table.is_empty() and config.is_file() and read_json(config, _CONFIG_BYTES).get("num_attention_heads") == 0:
        message = "num_attention_heads = 0 in its config: it has no attention"
        raise InputRejected(str(run), message, "name a run whose model attends")
    if table.is_empty():
        raise InputRejected(str(run), "expected a table attention.parquet with records, found none", MAKE)
    return table


def rows_of(table: polars.DataFrame, name: str, groups: str | None = None) -> KeyRows:
    """Select the columns on keys that the figures need from a table.

    Args:
        table: A table of the tracker, or of checkpoints.
        name: What it is called in messages.
        groups: Groups of layers, ``0-3,4-18,19-21``; None for thirds.

    Raises:
        InputRejected: It lacks a column, or holds no keys.
    """
    wrong = [column for column in (*KEY, *ATTENTION) if column not in table or not table.schema[column].is_numeric()]
    if wrong:
        raise InputRejected(name, f"the table lacks numbers in {', '.join(wrong)}", MAKE)
    keys = table.filter((polars.col("part") == "key") & polars.col("norm_mean").is_finite())
    if keys.is_empty():
        raise InputRejected(name, "no key of it is finite, or none was captured", "see the rows of part 'note'")
    after, before = (keys.filter(polars.col("stage") == stage) for stage in ("after", "before"))
    # Where some layers rotate their keys and others do not, only what all have can be set side by side.
    stage = "before" if set(before["layer"]) == set(keys["layer"]) else "after"
    chosen = layers_grouped(before if stage == "before" else after, groups)
    steps = sorted(set(chosen["step"]))
    attention = table.filter((polars.col("part") == "attention") & polars.col("entropy_share").is_finite())
    return KeyRows(
        keys=chosen,
        rotated=layers_grouped(after, groups) if stage == "before" else chosen.clear(),
        attention=layers_grouped(
            attention.filter(polars.col("step").is_in(steps)), groups
        ),  # brief records have no keys
        gains=_gains(table),
        stage=stage,
        steps=tuple(steps),
        text=next(iter(table.filter(polars.col("part") == "text")["note"].drop_nulls()), ""),
        unrotated=() if stage == "before" else _reasons(table),
        notes=_notes(table),
    )


def _reasons(table: polars.DataFrame) -> tuple[str, ...]:
    notes = table.filter(polars.col("part") == "note")["note"].drop_nulls()
    return tuple(sorted({note.removeprefix(UNMEASURED) for note in notes if note.startswith(UNMEASURED)}))


def _notes(table: polars.DataFrame) -> tuple[str, ...]:
    noted = table.filter((polars.col("part") == "note") & polars.col("note").is_not_null())
    said = [(row["module"], row["note"]) for row in noted.iter_rows(named=True)]
    message = (f"{module}: {note}" if module else note for module, note in said if not note.startswith(UNMEASURED))
    return tuple(dict.fromkeys(message))


def _gains(table: polars.DataFrame) -> polars.DataFrame:
    if not {"gain_norm", "gain_decay"} <= set(table.columns):
        return table.clear()
    return table.filter((polars.col("part") == "key_gain") & polars.col("gain_norm").is_finite())


def layers_grouped(frame: polars.DataFrame, groups: str | None = None) -> polars.DataFrame:
    """Add a column ``group`` that names each row's group of layers: early, middle and final thirds by default, fewer
    groups for one or two layers.

    Args:
        frame: Rows with a ``layer``.
        groups: Groups to take instead of thirds, ``0-3,4-18,19-21``.

    Raises:
        UsageError: The groups are not as they should be, or leave a layer out.
    """
    layers = sorted(set(frame["layer"]))
    if groups is None:
        names = {1: ("all",), 2: ("early", "final")}.get(len(layers), NAMES)
        parts = [part.tolist() for part in np.array_split(np.array(layers, dtype=int), len(names))]
    else:
        parts = [list(part) for part in parsed_groups(groups)]
        names = {1: ("all",), 2: ("early", "final")}.get(len(parts), NAMES)
        left = sorted(set(layers) - {layer for part in parts for layer in part})
        if left:
            raise UsageError(f"--groups {groups}: expected every layer in a group, layer {left[0]} is in none")
    named: dict[int, str] = {}
    for name, part in zip(names, parts, strict=True):
        if part:
            span = f"layer {part[0]}" if len(part) == 1 else f"layers {part[0]}-{part[-1]}"
            named |= dict.fromkeys(part, f"{name} ({span})")
    column = polars.col("layer").replace_strict(named, default="", return_dtype=polars.String).alias("group")
    return frame.with_columns(column)


def parsed_groups(groups: str) -> list[range]:
    """Parse groups of layers, such as ``0-3,4-18,19-21``, into one to three ascending ranges.

    Args:
        groups: Such as ``0-3,4-18,19-21``; a single layer is its number.

    Raises:
        UsageError: It is not of this form.
    """
    found = []
    for part in groups.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
            raise UsageError(f"--groups {groups}: expected layers such as 0-3,4-18,19-21, got {part!r}")
        found.append(range(int(first), int(last or first) + 1))
    ends = [(one.start, one.stop) for one in found]
    apart = all(before[1] <= after[0] for before, after in pairwise(ends))
    if len(found) > len(NAMES) or not apart or any(not one for one in found):
        raise UsageError(f"--groups {groups}: expected at most {len(NAMES)} groups that ascend and share no layer")
    return found
