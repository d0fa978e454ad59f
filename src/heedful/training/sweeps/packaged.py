"""Plans that ship with the package and can be run by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

PLANS = ("irreps", "kappa")
"""Their names."""


def packaged_plan(given: Path) -> Path:
    """Return the given plan file, or the packaged plan of that name if no such file exists.

    Args:
        given: A name of ``PLANS``, or a file.
    """
    if str(given) in PLANS and not given.exists():
        return Path(str(resources.files("heedful.training.sweeps").joinpath("plans", f"{given}.yaml")))
    return given
