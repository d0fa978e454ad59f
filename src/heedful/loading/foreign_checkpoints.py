"""Checkpoints of models that transformers doesn't know and a feature converts into one of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from heedful.plugins import Registry


@dataclass(frozen=True)
class ForeignCheckpoint:
    """How one kind of checkpoint is converted.

    Attributes:
        recognises: Whether a config, as data, is of this kind.
        convert: From the config, the tensors and the name for messages to the model, and notes: what could not be
            carried over, first of all.
    """

    recognises: Callable[[dict[str, Any]], bool]
    convert: Callable[[dict[str, Any], dict[str, Tensor], str], tuple[nn.Module, tuple[str, ...]]]


FOREIGN_CHECKPOINTS: Registry[ForeignCheckpoint] = Registry("models", "kind of checkpoint")


def foreign_checkpoint(config: dict[str, Any]) -> ForeignCheckpoint | None:
    """The kind of checkpoint that a config belongs to; None for those of transformers.

    Args:
        config: The config as data.
    """
    if "model_type" in config:
        return None
    return next((kind for kind in FOREIGN_CHECKPOINTS.values() if kind.recognises(config)), None)
