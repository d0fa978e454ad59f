"""A Trainer for models some of whose parameters must not decay, and whose gains may."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import Trainer


class TableTrainer(Trainer):
    """Trainer without weight decay for parameters whose names contain an entry of the model's ``undecayed``.

    Attributes:
        gain_weight_decay: Weight decay of the gains of the model's RMS norms; 0, as the Trainer has it, leaves them.
    """

    gain_weight_decay: float = 0.0

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Return the names of parameters with weight decay."""
        kept = getattr(model, "undecayed", ())
        return [name for name in super().get_decay_parameter_names(model) if not any(part in name for part in kept)]

    def create_optimizer(self, *given: Any, **named: Any) -> Any:
        """The Trainer's optimizer, with a group of its own for gains that decay."""
        known = self.optimizer is not None
        optimizer: Any = super().create_optimizer(*given, **named)
        if not known and self.gain_weight_decay:
            model: Any = self.model
            gains = [module.weight for module in model.modules() if isinstance(module, nn.RMSNorm)]
            for group in optimizer.param_groups:
                group["params"] = [one for one in group["params"] if not any(one is gain for gain in gains)]
            options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
            optimizer.add_param_group({**options, "params": gains, "weight_decay": self.gain_weight_decay})
        return optimizer
