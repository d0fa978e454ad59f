"""Build the figures on a run's keys.

State which inputs of the key figures (rotation, shared keys, gains) a run has and which are missing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars

from heedful.interception.unrotated import NOT_ROTATED
from heedful.monitoring.evolution import paragraphs
from heedful.monitoring.evolution.pairs import entropy_pairs, over_steps
from heedful.monitoring.evolution.rows import KeyRows, key_rows
from heedful.monitoring.page.record import KeyFigure, KeyReport
from heedful.reporting.quantity import count

_LIMITS = (
    "This is one run: one seed, one text and one set of training options, so nothing here says what another run would "
    "do. Intervals are over heads or layers of this run, which share its data and its optimizer: they are narrower "
    "than intervals over runs would be. {} No figure shows what causes what, and none shows what a quantised or pruned "
    "model would lose."
)
_OWN_BATCHES = (
    "Each record was measured on a few sequences of the batch of its own step, so points of neighbouring steps differ "
    "by the text as well."
)
_ONE_TEXT = "On another text keys are others, and so are all numbers here."


def key_report(run: str | Path) -> KeyReport:
    """Return figures and paragraphs on the keys of the run in a folder.

    Args:
        run: Folder in which ``AttentionTracker`` wrote its table, or such a table by itself.

    Raises:
        InputRejected: There is no table of a tracker with keys.
    """
    return report_of(key_rows(run), str(run))


def report_of(rows: KeyRows, subject: str) -> KeyReport:
    """Build the report on key vectors, with figures and paragraphs, from the table rows in ``rows``.

    Args:
        rows: Those of a run, or of checkpoints.
        subject: What they are of, as the user named it.
    """
    figures = [_norm(rows), _outliers(rows), _redundancy(rows), _profile(rows)]
    pairs = entropy_pairs(rows)
    if pairs.drawn:
        figures.append(
            KeyFigure(
                name="entropy_and_spread",
                title="Entropy against key norm and against logit spread",
                paragraph=paragraphs.entropy(pairs),
                rows=tuple(pairs.drawn),
            )
        )
    return KeyReport(
        subject=subject,
        measured=_measured(rows),
        present=present(rows),
        figures=tuple(figures),
        limits=_LIMITS.format(_ONE_TEXT if rows.text else _OWN_BATCHES),
    )


def _measured(rows: KeyRows) -> str:
    heads, layers = rows.keys.select("layer", "head").unique().height, rows.keys["layer"].n_unique()
    dims = " and ".join(map(str, rows.dims)) or "unknown"
    what = "checkpoint" if rows.text else "recorded step"
    steps = f"1 {what}" if rows.single else f"{len(rows.steps)} {what}s from step {rows.steps[0]} to {rows.steps[-1]}"
    lines = "" if rows.single else " Lines are means over the heads of a group of layers, bands the range over them."
    return f"{steps}; {count(layers, 'layer')}, {count(heads, 'key head')} of dimension {dims}.{lines}"


def _over(rows: KeyRows, **panels: str) -> tuple[dict[str, Any], ...]:
    """Rows of a figure over steps; none where there is one step, which is no evolution."""
    if rows.single:
        return ()
    return tuple(row for name, panel in panels.items() for row in over_steps(rows.keys, name, panel))


def _norm(rows: KeyRows) -> KeyFigure:
    return KeyFigure(
        name="key_norm_evolution",
        title="Key norm evolution",
        paragraph=paragraphs.norm(rows),
        rows=_over(rows, norm_mean="mean key norm"),
        reference=tuple(math.sqrt(dim) for dim in rows.dims),
    )


def _outliers(rows: KeyRows) -> KeyFigure:
    return KeyFigure(
        name="outlier_magnitude",
        title="Outlier magnitude",
        paragraph=paragraphs.outliers(rows),
        rows=_over(
            rows,
            largest_share="share of a key in its largest component",
            global_max="largest component of all keys of a head",
        ),
    )


def _redundancy(rows: KeyRows) -> KeyFigure:
    return KeyFigure(
        name="latent_redundancy",
        title="Latent redundancy",
        paragraph=paragraphs.redundancy(rows),
        rows=_over(rows, cosine="cosine of two keys, raw", centred_cosine="cosine of two keys about their mean"),
    )


def _profile(rows: KeyRows) -> KeyFigure:
    value = polars.col("norm_mean").cast(polars.Float64)
    last = (
        rows.keys.filter(polars.col("step") == rows.steps[-1])
        .group_by("layer")
        .agg(value.mean().alias("value"), value.min().alias("low"), value.max().alias("high"))
    )
    first = rows.keys.filter(polars.col("step") == rows.steps[0]).group_by("layer").agg(value.mean().alias("first"))
    table = (last if rows.single else last.join(first, on="layer", how="left")).sort("layer").to_dicts()
    return KeyFigure(
        name="key_magnitude_profile",
        title="Key magnitude profile by layer",
        paragraph=paragraphs.profile(rows, table),
        rows=tuple(table),
        reference=tuple(math.sqrt(dim) for dim in rows.dims),
    )


SHOWN = 4
"""Notes that are shown; the table has all."""


def present(rows: KeyRows) -> tuple[str, ...]:
    """Return sentences on the run's rotation, shared keys and gains, on its text if one was given, and on notes.

    Args:
        rows: Those of the run.
    """
    said = [_rotation(rows), _shared(rows.sharing), _gains(rows)]
    if rows.text:
        who = "The checkpoint read" if rows.single else "Every checkpoint read the same"
        belongs = "loss, gradients, weight decay and alarms belong to a training, and no checkpoint holds them."
        said.insert(0, f"{who} {rows.text}; {belongs}")
    if rows.notes:
        more = f"; and {count(len(rows.notes) - SHOWN, 'note')} more" if len(rows.notes) > SHOWN else ""
        said.append(f"Noted: {'; '.join(rows.notes[:SHOWN])}{more}.")
    return tuple(said)


def _rotation(rows: KeyRows) -> str:
    if rows.stage == "before":
        return "Keys are those before their rotation, unless another is named."
    if rows.unrotated == (NOT_ROTATED,):
        return "This model does not rotate its keys, so there is no before and after."
    reasons = "; ".join(rows.unrotated) or "no layer, or not every layer, showed them"
    return f"Keys are those that attention meets; before a rotation they are not known: {reasons}."


def _shared(numbers: list[int]) -> str:
    if numbers == [1]:
        return "Every query head has keys of its own."
    return (
        f"A key head serves {' or '.join(map(str, numbers))} query heads." if numbers else "No query head was captured."
    )


def _gains(rows: KeyRows) -> str:
    layers = rows.gains["layer"].n_unique() if len(rows.gains) else 0
    if layers:
        return f"Gains of key norms are known in {count(layers, 'layer')}."
    return "No gain of a key norm was found: this model does not normalise its keys, so nothing sets their norm."
