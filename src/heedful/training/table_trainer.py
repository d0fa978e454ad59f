"""Trainer for models with parameters that must not have weight decay."""

from __future__ import annotations

from typing import Any

from transformers import Trainer


class TableTrainer(Trainer):
    """Trainer without weight decay for parameters whose names contain an entry of the model's ``undecayed``."""

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Return the names of parameters with weight decay."""
        kept = getattr(model, "undecayed", ())
        return [name for name in super().get_decay_parameter_names(model) if not any(part in name for part in kept)]
