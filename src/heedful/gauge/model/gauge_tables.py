"""Lookup tables of means, variances and frames for tokens and positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from heedful.gauge.frames import bounded, frames
from heedful.gauge.irreps import parse_irreps
from heedful.gauge.layout import BeliefLayout, TokenBeliefs
from heedful.gauge.model.attention.gauge_kl import exact
from heedful.gauge.model.gauge_config import GaugeConfig


class BeliefTable(nn.Embedding):
    """Embedding table that remembers the standard deviation of its initial values; with 0, all values start at 0.

    The deviation belongs to the table itself: transformers draws nothing for modules without parameters.
    """

    def __init__(self, rows: int, columns: int, deviation: float) -> None:
        super().__init__(rows, columns)
        self.deviation = deviation

    @classmethod
    def of(cls, weight: nn.Parameter, deviation: float) -> BeliefTable:
        """Create a table that holds the given weights.

        Args:
            weight: ``(row, column)``.
            deviation: Standard deviation of numbers that are drawn.
        """
        made = cls(1, weight.shape[1], deviation)
        made.num_embeddings, made.weight = len(weight), weight
        return made

    def resized(self, rows: int, by_mean: bool) -> BeliefTable:
        """Return a table with another number of rows; added rows are the mean of the old ones or random.

        Args:
            rows: How many.
            by_mean: Whether rows that are added are the mean of those there; otherwise they are drawn.
        """
        old = self.weight.detach()
        added = old.mean(0).expand(max(rows - len(old), 0), -1)
        added = added.clone() if by_mean else torch.randn_like(added) * self.deviation
        weight = torch.cat((old[:rows], added)).contiguous()
        return BeliefTable.of(nn.Parameter(weight, requires_grad=self.weight.requires_grad), self.deviation)


class BeliefTables(nn.Module):
    """Lookup tables that give tokens at positions their beliefs and frames.

    Variances lie strictly within the config's bounds whatever the table holds, and angles below pi.

    Args:
        config: Sizes and choices.
    """

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = BeliefLayout(parse_irreps(config.irreps), config.covariance, config.covariance_frame == "token")
        tokens, positions, width = config.vocab_size, config.max_position_embeddings, self.layout.irreps.dim
        turns = any(self.layout.irreps.orders)  # scalars have no frames
        angles = config.frame_norm / math.sqrt(3)
        placed = turns and config.position_frames == "learned"
        self.mean = BeliefTable(tokens, width, config.mean_std)
        self.log_variance = BeliefTable(tokens, self.layout.variances, 0.0)
        self.shear = BeliefTable(tokens, self.layout.shears, 0.0) if self.layout.shears else None
        self.frame = BeliefTable(tokens, 3, angles) if turns and config.token_frames == "learned" else None
        self.position_mean = BeliefTable(positions, width, config.position_std) if config.position_means else None
        self.position_frame = BeliefTable(positions, 3, angles) if placed else None

    def forward(self, ids: Tensor, positions: Tensor) -> tuple[TokenBeliefs, tuple[Tensor, ...]]:
        """Return the beliefs in their own frames, and the frame of each group of irreps.

        Args:
            ids: ``(batch, token)``.
            positions: ``(batch, token)``.

        Returns:
            Beliefs, means in the token's own frame and covariances in the config's ``covariance_frame``; frames
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

    @torch.no_grad()
    def angle_spread(self, ids: Tensor) -> Tensor:
        """Return how far the frames' rotation vectors spread over tokens (standard deviation, mean of three
        components); NaN for scalars alone.

        Args:
            ids: ``(batch, token)``.
        """
        if self.frame is None:
            return torch.full((), math.nan)
        return bounded(exact(self.frame(ids))).flatten(0, 1).std(0).mean()

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
