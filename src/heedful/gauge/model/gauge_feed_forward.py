r"""The feed-forward part of a gauge layer: a learned map, or a step that lowers the free energy.

The free energy of a token given the tokens it attends to, and a gradient step that lowers it.

.. math:: F_i = -\kappa \log \sum_j e^{-KL(q_i \| q_j) / \kappa} + \alpha \, KL(q_i \,\|\, p_i)
          = \min_\beta \sum_j \beta_{ij} (KL_{ij} + \kappa \log \beta_{ij}) + \alpha \, KL(q_i \,\|\, p_i)

up to a constant. Since the weights are those of the minimum, its gradient is
:math:`\sum_j \beta_{ij} \nabla KL_{ij}` and no term of :math:`\nabla \beta` remains. A divergence is linear in its
key's features, so that the gradient needs their mean :math:`\sum_j \beta_{ij} g_j` alone: one attention whose values
are its keys. The beliefs that are met stand still: a gradient through them would tell tokens of their future.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from heedful.gauge.beliefs import Gaussians
from heedful.gauge.layout import TokenBeliefs
from heedful.gauge.model.attention.gauge_kl import Around, DivergenceHeads, canonical, exact, in_frames, moved
from heedful.gauge.model.gauge_config import GaugeConfig

WIDER = 4
"""Inner width of the learned map over its outer one."""

FIRST_RATE = 0.1


class LearnedFeedForward(nn.Module):
    """``out(gelu(in(mu)))`` on means; mixes all dimensions and is not equivariant."""

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        width = int(config.hidden_size or 0)
        self.up_proj = nn.Linear(width, WIDER * width)
        self.down_proj = nn.Linear(WIDER * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the map to means; input and output are ``(batch, token, width)``."""
        inner = nn.functional.gelu(self.up_proj(hidden.to(self.up_proj.weight.dtype)))
        return self.down_proj(inner).to(hidden.dtype)


class BeliefNorm(nn.LayerNorm):
    """Layer norm of belief means, computed in the format of the means (float32 or better), whatever the format of its
    gains.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise means; input and output are ``(batch, token, width)``."""
        gains, shifts = (part.to(input.dtype) for part in (self.weight, self.bias))
        return nn.functional.layer_norm(input, self.normalized_shape, gains, shifts, self.eps)


class VariationalFeedForward(DivergenceHeads):
    """Natural-gradient steps that lower each belief's free energy, given the beliefs it attends to.

    Means and log-variances move; the beliefs met, and the frames, stand still. It has temperatures of its own and one
    learned rate. Each step is one more attention, whose values are its keys, and is met by a capture as such.

    Args:
        config: Sizes and choices.
        layer: Index of the layer.
    """

    meets_itself = False  # a second step begins away from the prior, and attention has moved the first

    def __init__(self, config: GaugeConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.log_rate = nn.Parameter(torch.zeros(()))

    def forward(
        self,
        hidden: Tensor,
        spread: TokenBeliefs,
        prior: TokenBeliefs,
        frames: tuple[Tensor, ...],
        around: Around,
        **options: Any,
    ) -> TokenBeliefs:
        """Return the beliefs after the gradient steps.

        Args:
            hidden: Means in their own frames, ``(batch, token, width)``.
            spread: The covariances; its means are not read.
            prior: The beliefs that were embedded.
            frames: ``(batch, token, dim, dim)`` of each group.
            around: What attention met.
            options: Passed on to the kernel.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            found = moved(canonical(self.layout, replace(spread, mean=exact(hidden)), frames), around.centre, -1)
            home = moved(canonical(self.layout, prior, frames), around.centre, -1)
            values = [group.keys() for group in around.keys]
            rate = exact(self.log_rate).exp()
            for _ in range(self.config.inner_steps):
                means, _ = self.attended(found, around, values, **options)
                parts = zip(found, means, home, strict=True)
                found = tuple(lowered(one, mean, prior, self.config.prior_pull, rate) for one, mean, prior in parts)
            after = self.layout.tokens(found)
            means = [group.mean for group in moved(found, around.centre, 1)]
            return replace(after, mean=in_frames(means, frames))


MOST_DEVIATIONS = 2.0
"""Longest step of a mean, in its own standard deviations."""

MOST_LOG = 0.2
"""Largest step of a log-variance."""


def lowered(belief: Gaussians, attended: Tensor, prior: Gaussians, weight: float, rate: Tensor) -> Gaussians:
    r"""Return beliefs after one natural-gradient step that lowers their free energy.

    :math:`\Delta m = -\eta \, C \nabla_m F` and :math:`\Delta \log c = -2 \eta \nabla_{\log c} F`, each bounded.

    Args:
        belief: ``(..., dim)``.
        attended: Mean key features under the weights, ``(..., feature)``.
        prior: ``(..., dim)``.
        weight: ``alpha``, from 0 on.
        rate: ``eta``, one number.

    Returns:
        The same form of beliefs.
    """
    mean, spread = belief.slopes(attended)
    if weight:
        mean_home, spread_home = belief.slopes(prior.keys())
        mean, spread = mean + weight * mean_home, spread + weight * spread_home
    step = rate * mean
    deviations = (step.square() * (-belief.log_variance).exp()).sum(-1, keepdim=True).add(1e-12).sqrt()
    step = step * (MOST_DEVIATIONS / deviations).clamp_max(1.0)
    change = MOST_LOG * torch.tanh(rate * spread / MOST_LOG)
    return replace(belief, mean=belief.mean - step, log_variance=belief.log_variance - change)
