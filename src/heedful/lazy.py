"""Import names of a package on first use, so that importing the package is fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def loader(package: str, homes: Mapping[str, tuple[str, ...]], modules: tuple[str, ...] = ()) -> Callable[[str], Any]:
    """Return a module-level ``__getattr__`` that imports names on first use.

    Args:
        package: Its ``__name__``.
        homes: Module to the names that it defines.
        modules: Modules of the package that are imported when they are first named.

    Returns:
        A function of a name. It raises AttributeError for names that are not listed.
    """

    def load(name: str) -> Any:
        for home, names in homes.items():
            if name in names:
                value = getattr(importlib.import_module(home), name)
                setattr(sys.modules[package], name, value)
                return value
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
