"""The transformers Trainer for models part of which must not decay."""

from __future__ import annotations

from typing import Any

from transformers import Trainer


class TableTrainer(Trainer):
    """The Trainer, whose weight decay leaves out what a model names as ``undecayed``, by parts of parameters' names."""

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Names of the parameters that decay."""
        kept = getattr(model, "undecayed", ())
        return [name for name in super().get_decay_parameter_names(model) if not any(part in name for part in kept)]
