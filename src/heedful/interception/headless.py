"""Detect models whose config has no attention heads, such as control models."""

from __future__ import annotations

from torch import nn


def without_heads(model: nn.Module) -> str:
    """Return why no attention can be captured if the config states 0 attention heads; an empty string otherwise.

    Args:
        model: The model.

    Returns:
        One clause; empty where the config gives heads, or says nothing of them.
    """
    heads = getattr(getattr(model, "config", None), "num_attention_heads", None)
    return "num_attention_heads = 0 in its config: it has no attention" if heads == 0 else ""
