"""Notebook display of records; the drawing code is imported only when needed."""

import importlib
from typing import Any


def drawing(name: str) -> Any:
    """Return a function of ``heedful.evaluation.page.notebook`` by name; the module is imported on first use."""
    return getattr(importlib.import_module("heedful.evaluation.page.notebook"), name)
