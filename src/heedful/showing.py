"""How a record shows itself in a notebook without importing the code that draws it."""

import importlib
from typing import Any


def drawing(name: str) -> Any:
    """The function of ``heedful.evaluation.page.notebook`` that draws a kind of record; loaded on first use."""
    return getattr(importlib.import_module("heedful.evaluation.page.notebook"), name)
