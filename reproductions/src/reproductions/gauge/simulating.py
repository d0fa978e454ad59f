"""Simulations without a language model: the recall task, and the temperature that leaves one effective key."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import polars
import torch

from reproductions.gauge.recall import ARMS, recalled
from reproductions.writing import write_table

SEEDS = list(range(8))
LEFT = 1.5
"""Effective keys of a head that has nearly one left."""

DIMS, KEYS = (1, 3, 5), (32, 64, 128, 256)
QUERIES, HALVINGS = 512, 24


def measure_recall(out: Path, tell: Callable[[str], None]) -> None:
    """Train every variant of the recall task and write ``recall.parquet``, unless it exists.

    Args:
        out: Folder of measurements.
        tell: Called with a line an arm.
    """
    if (out / "recall.parquet").exists():
        return
    rows = []
    for arm in ARMS:
        rows += recalled(arm, SEEDS)
        tell(f"recall: {arm.name}, {arm.dim} dimensions, weight {arm.weight:g}")
    write_table(polars.DataFrame(rows), out / "recall.parquet")


def measure_crowding(out: Path, tell: Callable[[str], None]) -> None:
    """Write ``crowding.parquet``: the temperature that leaves 1.5 effective keys, by dimension and number of keys.

    Args:
        out: Folder of measurements.
        tell: Called with a line a dimension.
    """
    if (out / "crowding.parquet").exists():
        return
    rows = []
    for dim in DIMS:
        rows += [
            {"dim": dim, "keys": keys, "seed": seed, "ratio": ratio_for(dim, keys, LEFT, seed)}
            for keys in KEYS
            for seed in SEEDS
        ]
        tell(f"crowding: {dim} dimensions")
    write_table(polars.DataFrame(rows), out / "crowding.parquet")


def ratio_for(dim: int, keys: int, left: float, seed: int) -> float:
    """Return the ``kappa / s^2`` at which queries among random keys have ``left`` effective keys on average.

    Args:
        dim: Dimensions of means that are standard normal; covariances are one.
        keys: Keys of each query.
        left: Effective keys, over 1 and under ``keys``.
        seed: Seed of the means.
    """
    draw = torch.Generator().manual_seed(seed)
    query = torch.randn(QUERIES, 1, dim, generator=draw, dtype=torch.float64)
    apart = (query - torch.randn(QUERIES, keys, dim, generator=draw, dtype=torch.float64)).square().sum(-1) / 2
    low, high = math.log(1e-9), math.log(1e3)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        weights = (-apart / math.exp(middle)).softmax(-1)
        sharp = float(torch.special.entr(weights).sum(-1).exp().mean()) < left
        low, high = (middle, high) if sharp else (low, middle)
    return math.exp((low + high) / 2)
