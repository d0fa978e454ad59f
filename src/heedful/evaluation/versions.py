"""The versions that a report's numbers were computed with."""

from __future__ import annotations

import platform
from importlib import metadata

import torch


def versions() -> dict[str, str]:
    """Python, torch, heedful and transformers, each name with its version."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("heedful", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
