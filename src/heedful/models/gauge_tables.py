"""The tables out of which every belief is read: means, variances and frames of tokens and of positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import initialization

from heedful.gauge import Layout, TokenBeliefs, bounded, frames, parse_irreps
from heedful.models.attention.gauge_kl import exact
from heedful.models.gauge_config import GaugeConfig


class BeliefTables(nn.Module):
    """Beliefs and frames of tokens at their positions.

    Variances lie strictly within the config's bounds whatever the table holds, and angles below pi.

    Args:
        config: Sizes and choices.
    """

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = Layout(parse_irreps(config.irreps), config.covariance)
        tokens, positions, width = config.vocab_size, config.max_position_embeddings, self.layout.irreps.dim
        turns = any(self.layout.irreps.orders)  # scalars have no frames
        self.mean = nn.Embedding(tokens, width)
        self.log_variance = nn.Embedding(tokens, self.layout.variances)
        self.shear = nn.Embedding(tokens, self.layout.shears) if self.layout.shears else None
        self.frame = nn.Embedding(tokens, 3) if turns and config.token_frames == "learned" else None
        self.position_mean = nn.Embedding(positions, width) if config.position_means else None
        learned = turns and config.position_frames == "learned"
        self.position_frame = nn.Embedding(positions, 3) if learned else None

    def initialise(self) -> None:
        """Draw every table anew, each with its own deviation; variances begin equal, shears at none."""
        config = self.config
        drawn = {"mean": config.mean_std, "position_mean": config.position_std}
        drawn |= {"frame": config.frame_norm / math.sqrt(3), "position_frame": config.frame_norm / math.sqrt(3)}
        for name, deviation in drawn.items():
            if getattr(self, name) is not None:
                initialization.normal_(getattr(self, name).weight, std=deviation)
        for table in (self.log_variance, self.shear):
            if table is not None:
                initialization.zeros_(table.weight)

    def forward(self, ids: Tensor, positions: Tensor) -> tuple[TokenBeliefs, tuple[Tensor, ...]]:
        """Beliefs in their own frames, and the frame of each group of irreps.

        Args:
            ids: ``(batch, token)``.
            positions: ``(batch, token)``.

        Returns:
            Beliefs, means in the token's own frame and covariances in the common one; frames
            ``(batch, token, dim, dim)``.
        """
        with torch.autocast(ids.device.type, enabled=False):
            return self._read(ids, positions)

    def _read(self, ids: Tensor, positions: Tensor) -> tuple[TokenBeliefs, tuple[Tensor, ...]]:
        mean = exact(self.mean(ids))
        if self.position_mean is not None:
            mean = mean + self.position_mean(positions)
        shear = None if self.shear is None else torch.tanh(exact(self.shear(ids)))
        beliefs = TokenBeliefs(mean, self._log_variance(exact(self.log_variance(ids))), shear)
        return beliefs, self._frames(ids, positions, mean)

    def _log_variance(self, table: Tensor) -> Tensor:
        low, start, high = (math.log(getattr(self.config, f"{name}_variance")) for name in ("min", "initial", "max"))
        middle, half = (low + high) / 2, (high - low) / 2
        return middle + half * torch.tanh(table / half + math.atanh((start - middle) / half))

    def _frames(self, ids: Tensor, positions: Tensor, like: Tensor) -> tuple[Tensor, ...]:
        orders = [order for _, order in self.layout.irreps.groups]
        own = None if self.frame is None else bounded(exact(self.frame(ids)))
        angles = [angle for angle in (own, self._position_angles(positions, like)) if angle is not None]
        none = like.new_ones(1, 1, 1, 1)
        if not angles:
            return tuple(none for _ in orders)
        by_order = {order: [frames(angle, order) for angle in angles] for order in set(orders) if order}
        turned = {order: parts[0] if len(parts) == 1 else parts[0] @ parts[1] for order, parts in by_order.items()}
        return tuple(turned.get(order, none) for order in orders)

    def _position_angles(self, positions: Tensor, like: Tensor) -> Tensor | None:
        if self.position_frame is not None:
            return bounded(exact(self.position_frame(positions)))
        if self.config.position_frames == "none":
            return None
        rates = self.config.max_position_embeddings ** (-torch.arange(3, device=positions.device) / 3)
        return torch.sin(positions[..., None] * rates).to(like.dtype)  # longest sqrt(3), below pi
