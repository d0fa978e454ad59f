"""Plans that come with the package, run by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

PLANS = ("irreps", "kappa")
"""Their names."""


def packaged_plan(given: Path) -> Path:
    """The file of a plan: the given path, or a plan of the package if no such file exists.

    Args:
        given: A name of ``PLANS``, or a file.
    """
    if str(given) in PLANS and not given.exists():
        return Path(str(resources.files("heedful.training.sweeps").joinpath("plans", f"{given}.yaml")))
    return given
