"""What was measured as the claims read it: a number a document, and its interval within the possible range."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.inference.interval import Interval
from heedful.inference.mean_interval import SHARE, UNBOUNDED, mean_interval
from reproductions.evidence import Measurements
from reproductions.published import published

Values = NDArray[np.float64]

DECODER = "SmolLM2-135M-Instruct"
ENCODER = "MiniLM-L6"

claimed = partial(published, note="literature")
"""Register a claim: ``section`` is its source, ``figure`` what was published, and of which model."""


def measured(evidence: Measurements, part: str) -> dict[str, Any]:
    """A measurement of ``python -P -m reproductions.literature``.

    Args:
        evidence: The folder.
        part: Its name.

    Raises:
        NotMeasured: It is not there.
    """
    found: dict[str, Any] = evidence.document(f"literature-{part}")
    return found


def values(found: dict[str, Any], name: str) -> Values:
    """Numbers of a measurement, documents first."""
    return np.asarray(found[name], dtype=float)


def share(numbers: ArrayLike) -> Interval:
    """Mean over documents of what lies between 0 and 1."""
    return mean_interval(numbers, within=SHARE)


def mean(numbers: ArrayLike) -> Interval:
    """Mean over documents of what has no bounds."""
    return mean_interval(numbers, within=UNBOUNDED)
