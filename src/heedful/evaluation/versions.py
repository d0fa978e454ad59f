"""Report the package versions that computed the numbers."""

from __future__ import annotations

import platform
from importlib import metadata

import torch


def versions() -> dict[str, str]:
    """Return the versions of Python, torch, heedful and transformers, by name."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("heedful", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
