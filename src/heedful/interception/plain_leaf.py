"""Detect layers without attention: they get no hooks, and their operations are attributed to the parent."""

from __future__ import annotations

from torch import nn

PLAIN = ("torch.nn.modules.", "transformers.activations")
"""Where layers are written of which none without children attends."""

LINEAR = ("transformers.pytorch_utils", "Conv1D")
"""GPT-2's linear map."""


def is_plain_leaf(module: nn.Module) -> bool:
    """Return whether a module is a layer without children and without attention, such as ``Linear``."""
    cls = type(module)
    return not module._modules and (cls.__module__.startswith(PLAIN) or (cls.__module__, cls.__name__) == LINEAR)
