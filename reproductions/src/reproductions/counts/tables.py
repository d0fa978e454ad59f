"""The table of measurements as the claims read it: a number a text, in the order of their names.

Slices of one text are no units of their own: they are averaged first.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import polars
from numpy.typing import NDArray

from heedful.inference.interval import Interval
from heedful.inference.mean_interval import mean_interval
from reproductions.counts.measuring import TABLE
from reproductions.evidence import Measurements, NotMeasured

Values = NDArray[np.float64]

QUARTER = 0.25
"""A figure of another text counts as reproduced within a quarter of it each way."""

EQUAL = 0.02
"""Skill nearer to 0 than this is that of uniform attention."""


def by_unit(
    evidence: Measurements,
    part: str,
    measure: str,
    *,
    arm: str = "",
    std: float | None = None,
    layer: int | tuple[int, ...] | None = None,
    head: int | None = None,
) -> Values:
    """A measure of each text, the mean over its slices and over layers and heads that are not named.

    Args:
        evidence: Measurements.
        part: Which measurement.
        measure: Name of the measure.
        arm: Variant.
        std: Scale of the matrices.
        layer: Layer, or several; None for all.
        head: Head; None for all.

    Raises:
        NotMeasured: No text has it.
    """
    wanted = (polars.col("part") == part) & (polars.col("measure") == measure) & (polars.col("arm") == arm)
    if std is not None:
        wanted &= polars.col("std") == std
    if layer is not None:
        wanted &= polars.col("layer").is_in([layer] if isinstance(layer, int) else list(layer))
    if head is not None:
        wanted &= polars.col("head") == head
    table = evidence.table(TABLE).filter(wanted).with_columns(text=polars.col("unit").str.replace(r"-\d+$", ""))
    found = table.group_by("text").agg(polars.col("value").mean()).sort("text")
    if found.is_empty():
        raise NotMeasured(" ".join([part, arm, measure]))
    return found["value"].to_numpy().astype(float)


def by_text(evidence: Measurements, part: str, measure: str) -> dict[str, float]:
    """A measure of each text, by the text's name.

    Args:
        evidence: Measurements.
        part: Which measurement.
        measure: Name of the measure.
    """
    names = sorted(set(evidence.table(TABLE)["unit"].str.replace(r"-\d+$", "").to_list()))
    return dict(zip(names, by_unit(evidence, part, measure).tolist(), strict=True))


def over_units(values: Values) -> Interval:
    """Mean over texts and its 95 % interval, which takes ``FEWEST`` texts at least."""
    return mean_interval(values)


def skill(
    evidence: Measurements,
    part: str,
    arm: str,
    *,
    std: float | None = None,
    layer: int | tuple[int, ...] | None = None,
    head: int | None = None,
) -> Values:
    """``1 - KL / KL of uniform`` of each text, from means over layers and heads; arguments as of :func:`by_unit`."""
    kl, flat = _divergences(evidence, part, arm, std, layer, head)
    return np.asarray(1 - kl / flat)


def beyond_uniform(
    evidence: Measurements,
    part: str,
    arm: str,
    *,
    std: float | None = None,
    layer: int | tuple[int, ...] | None = None,
) -> Values:
    """Return KL of uniform attention minus KL, in nats; positive if better than uniform; arguments as in
    :func:`by_unit`.
    """
    kl, flat = _divergences(evidence, part, arm, std, layer, None)
    return np.asarray(flat - kl)


def _divergences(
    evidence: Measurements,
    part: str,
    arm: str,
    std: float | None,
    layer: int | tuple[int, ...] | None,
    head: int | None,
) -> tuple[Values, Values]:
    own = partial(by_unit, evidence, part, arm=arm, std=std, layer=layer, head=head)
    return own("divergence"), own("uniform")


def slope(evidence: Measurements, measure: str, stds: tuple[float, ...], arm: str) -> Values:
    """Exponent with which a measure of the first layer grows with the scale, by text."""
    found = np.log([by_unit(evidence, "sweep", measure, arm=arm, std=std, layer=0) for std in stds])
    return np.array([np.polyfit(np.log(stds), column, 1)[0] for column in found.T])


def band(figure: float) -> tuple[float, float]:
    """Return the interval from a quarter below a figure to a quarter above it."""
    return figure * (1 - QUARTER), figure * (1 + QUARTER)
