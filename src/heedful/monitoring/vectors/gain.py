"""Statistics of query and key norm gains, and the change that weight decay alone would cause."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


def gain_statistics(gain: Tensor) -> dict[str, float]:
    """Return norm, mean, spread and range of a gain vector.

    Reading: with keys normalised to a root mean square of 1, the norm of the gain is the norm of a typical key.
    Pitfall: a gain c on keys and 1/c on queries leaves attention unchanged, so a gain alone is no temperature: read
    ``logit_sd``.

    Args:
        gain: ``(dim,)`` or ``(head * dim,)`` weights of the norm.

    Returns:
        ``gain_norm``, ``gain_mean``, ``gain_sd``, ``gain_min``, ``gain_max``.
    """
    with torch.no_grad():
        values = gain.detach().double().flatten()
        return {
            "gain_norm": float(values.norm()),
            "gain_mean": float(values.mean()),
            "gain_sd": float(values.std(correction=0)),
            "gain_min": float(values.min()),
            "gain_max": float(values.max()),
        }


@dataclass
class DecayCurve:
    r"""The norm that a parameter would have if only weight decay had changed it.

    .. math:: \lVert g_0\rVert \prod_t (1 - \eta_t \lambda)

    for decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101) at learning rate :math:`\eta_t`.

    Reading: a gain that falls along the curve is shrunk by the optimizer and not by what the model learnt.

    Attributes:
        start: Norm at the first step that was watched.
        share: Product so far; NaN where the optimizer couples decay with its gradient statistics.
    """

    start: float
    share: float = field(default=1.0)

    def stepped(self, learning_rate: float, weight_decay: float) -> None:
        """Apply the weight decay of one optimizer step.

        Args:
            learning_rate: That of the step.
            weight_decay: Decoupled decay of the parameter's group.
        """
        self.share *= 1.0 - learning_rate * weight_decay

    @property
    def norm(self) -> float:
        """Norm after the steps so far."""
        return self.start * self.share
