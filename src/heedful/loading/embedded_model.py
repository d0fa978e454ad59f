"""Locate the model that ships with heedful, without importing torch."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from heedful.errors import InputRejected

EMBEDDED_NAME = "embedded default"


def embedded_folder() -> Any:
    """Return the folder of the model that ships with heedful, as a package resource.

    Returns:
        A traversable resource; ``importlib.resources.as_file`` gives its path.

    Raises:
        InputRejected: This installation lacks it.
    """
    folder = files("heedful") / "assets" / "default"
    if not (folder / "config.json").is_file():
        raise InputRejected(EMBEDDED_NAME, "this installation has no embedded model", "reinstall it, or name a MODEL")
    return folder
