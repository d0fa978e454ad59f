"""Registry of converters from checkpoints that transformers does not know to models of heedful."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from heedful.plugins import Registry


@dataclass(frozen=True)
class ForeignCheckpoint:
    """How one kind of foreign checkpoint is recognised by its config and converted to a model.

    Attributes:
        recognises: Whether a config, as data, is of this kind.
        convert: From the config, the tensors and the name for messages to the model, and notes: what could not be
            carried over, first of all.
    """

    recognises: Callable[[dict[str, Any]], bool]
    convert: Callable[[dict[str, Any], dict[str, Tensor], str], tuple[nn.Module, tuple[str, ...]]]


FOREIGN_CHECKPOINTS: Registry[ForeignCheckpoint] = Registry("models", "kind of checkpoint")


def foreign_checkpoint(config: dict[str, Any]) -> ForeignCheckpoint | None:
    """Return the kind of foreign checkpoint that a config belongs to; None if it is one of transformers or of no known
    kind.

    Args:
        config: The config as data.
    """
    if "model_type" in config:
        return None
    return next((kind for kind in FOREIGN_CHECKPOINTS.values() if kind.recognises(config)), None)
