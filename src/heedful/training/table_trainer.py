"""A Trainer for models some of whose parameters must not decay."""

from __future__ import annotations

from typing import Any

from transformers import Trainer


class TableTrainer(Trainer):
    """A Trainer without weight decay for parameters whose names contain a part of the model's ``undecayed``."""

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Names of the parameters that decay."""
        kept = getattr(model, "undecayed", ())
        return [name for name in super().get_decay_parameter_names(model) if not any(part in name for part in kept)]
