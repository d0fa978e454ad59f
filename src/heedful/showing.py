"""The door by which a record shows itself in a notebook: records know no room above them."""

import importlib
from typing import Any


def drawing(name: str) -> Any:
    """The function of ``heedful.evaluation.page.notebook`` by which a record shows itself; loaded when one is shown."""
    return getattr(importlib.import_module("heedful.evaluation.page.notebook"), name)
