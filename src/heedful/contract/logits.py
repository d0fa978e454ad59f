"""Infer scale, softcap, sink, head grouping and unpromised bias from the kernel's weights.

The logarithm of a row of weights is the row of logits less one constant. So, within each row, ``log A`` of the visible
keys is compared with ``c tanh(s q.k / c) + bias``, both less their means over the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall

LEAST = 1e-7
"""Weights below this are left out of fits: their logarithm says more of rounding than of logits."""

MOST = 400_000
"""Weights (batch, head, query, column) that one fit takes; queries beyond it are left out evenly."""


@dataclass(frozen=True)
class LogitFit:
    """How well candidate logits explain the weights of a call: deviation, tolerance and first mismatch.

    Attributes:
        deviation: Largest difference within a row.
        limit: Largest difference that rounding explains.
        where: ``(sequence, head, query, column)`` of the first difference beyond the limit, or None.
    """

    deviation: float
    limit: float
    where: tuple[int, int, int, int] | None

    @property
    def explains(self) -> bool:
        """Whether the deviation is within rounding."""
        return self.deviation <= self.limit


class RowLogits:
    """Log weights of one call, and the products of its queries and keys.

    Args:
        call: The call, whose logits are not in its bias.
        keys: ``(column,)`` key positions.
        weights: ``(batch, head, query, column)``.
        live: ``(batch, query)`` rows that count.
    """

    def __init__(self, call: AttentionCall, keys: Tensor, weights: Tensor, live: Tensor) -> None:
        self.call, self.keys = call, keys
        per_query = weights.shape[0] * weights.shape[1] * weights.shape[3]
        self.step = max(1, math.ceil(weights.shape[2] * per_query / MOST))
        self.exact = call.query.dtype in (torch.float32, torch.float64)
        self.weights = weights[:, :, :: self.step].double()
        least = LEAST if self.exact else 1e-3
        self.valid = (self.weights > least) & live[:, None, :: self.step, None]
        self.known = self.valid
        self.logs = torch.where(self.valid, self.weights, 1.0).log()
        self.counts = self.valid.sum(-1, keepdim=True)
        self.valid = self.valid & (self.counts > 1)
        self.query = call.query[:, :, :: self.step].double()
        self.bias = self._bias()

    def _bias(self) -> Tensor | float:
        bias = self.call.bias
        if bias is None:
            return 0.0
        rows = bias if bias.shape[2] == 1 else bias[:, :, :: self.step]
        return (rows if rows.shape[3] == 1 else rows[..., self.keys]).double()

    def products(self, grouping: str = "repeat") -> Tensor:
        """Return ``q.k`` of every query with the chosen keys, ``(batch, head, query, column)``.

        Args:
            grouping: ``repeat``: query heads of a group stand together; ``tile``: key heads come round in turn.
        """
        key = self.call.key[:, :, self.keys].double()
        groups = self.call.heads // self.call.kv_heads
        key = key.repeat_interleave(groups, 1) if grouping == "repeat" else key.repeat(1, groups, 1, 1)
        return self.query @ key.transpose(-1, -2)

    def fit(self, logits: Tensor) -> LogitFit:
        """Compare candidate logits plus the call's bias with the log weights."""
        logits = logits + self.bias
        rest = self._centred(self.logs - logits)
        size = float(torch.where(self.valid, logits.abs(), 0.0).max()) if bool(self.valid.any()) else 0.0
        limit = 1e-4 + 1e-5 * size if self.exact else 0.05 + 0.02 * size
        far = rest.abs() > limit
        deviation = float(rest.abs().max()) if rest.numel() else 0.0
        return LogitFit(deviation, limit, self._first(far))

    def _first(self, far: Tensor) -> tuple[int, int, int, int] | None:
        places = far.nonzero()
        if not len(places):
            return None
        at = self.keys[places[:, 3]]
        batch, heads = self.weights.shape[:2]
        order = ((places[:, 2] * (int(self.keys.max()) + 1) + at) * batch + places[:, 0]) * heads + places[:, 1]
        sequence, head, query, column = places[int(order.argmin())].tolist()
        return sequence, head, query * self.step, column

    def slope(self, products: Tensor, *, distance: bool = False) -> tuple[float, float, float]:
        """Fit log weights minus bias as a linear function of ``products`` by least squares, with one intercept per
        row; return slope, distance slope and error bound.

        Args:
            products: As of ``products``.
            distance: Whether the distance of query and key is a second regressor.

        Returns:
            The slope, the slope of the distance (0 without), and how far the slope may be off.
        """
        target = self._centred(self.logs - self.bias)
        first = self._centred(products)
        total = float((first * first).sum())
        if total <= 0:
            return math.nan, 0.0, math.inf
        if not distance:
            slope = float((first * target).sum()) / total
            return slope, 0.0, self._uncertain(total)
        place = torch.arange(0, self.call.n_queries, self.step, device=self.keys.device)
        second = self._centred((place[:, None] - self.keys[None]).double().expand_as(products))
        a, b, c = total, float((first * second).sum()), float((second * second).sum())
        x, y = float((first * target).sum()), float((second * target).sum())
        inverse = a * c - b * b
        if inverse <= 0:
            return x / a, 0.0, self._uncertain(total)
        return (c * x - b * y) / inverse, (a * y - b * x) / inverse, self._uncertain(total)

    def _uncertain(self, total: float) -> float:
        spread = math.sqrt(total / max(1, int(self.valid.sum())))
        return (1e-5 if self.exact else 2e-2) / spread if spread > 0 else math.inf

    def distance_term(self, factor: float, like: Tensor) -> Tensor:
        """Return ``factor`` times the distance from each query back to each key."""
        place = torch.arange(0, self.call.n_queries, self.step, device=self.keys.device)
        return (factor * (place[:, None] - self.keys[None]).double()).expand_as(like)

    def constants(self, logits: Tensor) -> Tensor:
        """Return the log normaliser of each row, the mean of ``logit - log A``; NaN if no weight is known."""
        rest = torch.where(self.known, logits + self.bias - self.logs, 0.0).sum(-1)
        count = self.known.sum(-1)
        return torch.where(count > 0, rest / count.clamp_min(1), torch.nan)

    def _centred(self, values: Tensor) -> Tensor:
        values = torch.where(self.valid, values, 0.0)
        mean = values.sum(-1, keepdim=True) / self.counts.clamp_min(1)
        return torch.where(self.valid, values - mean, 0.0)


def capped(products: Tensor, scale: float, cap: float | None) -> Tensor:
    """Return ``c tanh(s x / c)``, or ``s x`` without a cap."""
    scaled = products * scale
    return scaled if not cap else cap * torch.tanh(scaled / cap)
