"""The figures of a run's keys."""

from __future__ import annotations

import math
from pathlib import Path

import polars

from heedful.report.keys import KeyFigure, KeyReport
from heedful.report.quantity import count
from heedful.training.key_evolution import paragraphs
from heedful.training.key_evolution.change import over_steps
from heedful.training.key_evolution.pairs import entropy_pairs
from heedful.training.key_evolution.rows import KeyRows, key_rows

LIMITS = (
    "This is one run: one seed, one text and one set of training options, so nothing here says what another run would "
    "do. Intervals are over heads or layers of this run, which share its data and its optimizer: they are "
    "narrower than "
    "intervals over runs would be. Each record was measured on a few sequences of the batch of its own step, so points "
    "of neighbouring steps differ by the text as well. No figure shows what causes what, and none shows what a "
    "quantised "
    "or pruned model would lose."
)


def key_report(run: str | Path) -> KeyReport:
    """Figures and paragraphs on the keys of a run.

    Args:
        run: Folder in which ``AttentionTracker`` wrote its table.

    Raises:
        InputRejected: There is no table of a tracker with two steps of keys.
    """
    rows = key_rows(run)
    figures = [_norm(rows), _outliers(rows), _redundancy(rows), _profile(rows)]
    pairs = entropy_pairs(rows)
    if pairs.drawn:
        text = paragraphs.entropy(pairs)
        figures.append(
            KeyFigure(
                name="entropy_and_spread",
                title="Entropy against key norm and against logit spread",
                paragraph=text,
                rows=tuple(pairs.drawn),
            )
        )
    heads = rows.keys.select("layer", "head").unique().height
    layers = rows.keys["layer"].n_unique()
    dims = " and ".join(map(str, rows.dims)) or "unknown"
    measured = (
        f"{count(len(rows.steps), 'recorded step')} from {rows.steps[0]} to {rows.steps[-1]}; "
        f"{count(layers, 'layer')}, {count(heads, 'key head')} of dimension {dims}; keys {rows.stage} rotation"
        f"{'' if rows.stage == 'before' else ' (or never rotated)'}. Lines are means over the heads of a group of "
        "layers, bands the range over them."
    )
    return KeyReport(subject=str(run), measured=measured, figures=tuple(figures), limits=LIMITS)


def _norm(rows: KeyRows) -> KeyFigure:
    return KeyFigure(
        name="key_norm_evolution",
        title="Key norm evolution",
        paragraph=paragraphs.norm(rows),
        rows=tuple(over_steps(rows.keys, "norm_mean", "mean key norm")),
        reference=tuple(math.sqrt(dim) for dim in rows.dims),
    )


def _outliers(rows: KeyRows) -> KeyFigure:
    share = over_steps(rows.keys, "largest_share", "share of a key in its largest component")
    largest = over_steps(rows.keys, "global_max", "largest component of all keys of a head")
    return KeyFigure(
        name="outlier_magnitude",
        title="Outlier magnitude",
        paragraph=paragraphs.outliers(rows),
        rows=(*share, *largest),
    )


def _redundancy(rows: KeyRows) -> KeyFigure:
    raw = over_steps(rows.keys, "cosine", "cosine of two keys, raw")
    centred = over_steps(rows.keys, "centred_cosine", "cosine of two keys about their mean")
    return KeyFigure(
        name="latent_redundancy",
        title="Latent redundancy",
        paragraph=paragraphs.redundancy(rows),
        rows=(*raw, *centred),
    )


def _profile(rows: KeyRows) -> KeyFigure:
    value = polars.col("norm_mean").cast(polars.Float64)
    last = (
        rows.keys.filter(polars.col("step") == rows.steps[-1])
        .group_by("layer")
        .agg(value.mean().alias("value"), value.min().alias("low"), value.max().alias("high"))
    )
    first = rows.keys.filter(polars.col("step") == rows.steps[0]).group_by("layer").agg(value.mean().alias("first"))
    table = last.join(first, on="layer", how="left").sort("layer").to_dicts()
    return KeyFigure(
        name="key_magnitude_profile",
        title="Key magnitude profile by layer",
        paragraph=paragraphs.profile(rows, table),
        rows=tuple(table),
        reference=tuple(math.sqrt(dim) for dim in rows.dims),
    )
