"""The feed-forward part of a gauge layer: a learned map, or a step that lowers the free energy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from heedful.gauge.free_energy import lowered
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
    """A layer norm of means, which stay in float32 or better whatever the number format of the gains."""

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
