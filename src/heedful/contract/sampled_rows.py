"""A few rows of a call's own output, computed again from query, key and value: as handed, and as promised.

What goes on to the model is compared, not a replay of the kernel, and only as many rows as are sampled are ever held.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.interception.agreement import KEEPS_LOGITS, tolerance
from heedful.interception.event import AttentionEvent

ROWS = 8
"""Queries of which the output is computed again."""


class SampledRows:
    """Rows of one call beside what its queries, keys and values give by formula.

    Args:
        event: The call.
        own: ``(batch, head, query, value_dim)`` output that goes on to the model.
    """

    def __init__(self, event: AttentionEvent, own: Tensor) -> None:
        call = event.call
        self.call, self.way = call, event.way
        count = min(ROWS, call.n_queries)
        rows = [round(place * (call.n_queries - 1) / max(1, count - 1)) for place in range(count)]
        self.rows = torch.tensor(rows, device=call.query.device)
        self.own = own[:, :, self.rows].double()
        self.query = call.query[:, :, self.rows].double()
        self.key, self.value = call.key.double(), call.value.double()  # type: ignore[union-attr]
        sizes = (0, call.n_keys, call.n_queries, call.n_keys)
        parts = [call.visibility.block(row, row + 1, *sizes, call.query.device) for row in rows]
        self.visible = torch.cat(parts, 2)
        self.products = {"repeat": self._products("repeat")}

    def _products(self, grouping: str) -> Tensor:
        """``q.k``, ``(batch, head, row, key)``."""
        batch, heads, rows, dim = self.query.shape
        groups = heads // self.key.shape[1]
        if grouping == "tile":
            query = self.query.view(batch, groups, -1, rows, dim)
            return (query @ self.key[:, None].transpose(-1, -2)).flatten(1, 2)
        query = self.query.view(batch, -1, groups, rows, dim)
        return (query @ self.key[:, :, None].transpose(-1, -2)).flatten(1, 2)

    def _weighed(self, weights: Tensor, grouping: str) -> Tensor:
        batch, heads, rows, keys = weights.shape
        groups = heads // self.value.shape[1]
        if grouping == "tile":
            return (weights.view(batch, groups, -1, rows, keys) @ self.value[:, None]).flatten(1, 2)
        return (weights.view(batch, -1, groups, rows, keys) @ self.value[:, :, None]).flatten(1, 2)

    def error(
        self, scale: float | None = None, cap: float | None = None, grouping: str = "repeat", *, handed: bool = False
    ) -> tuple[float, float]:
        """How far the call's output is from what these numbers give, and what rounding explains of it.

        Args:
            scale: Factor of the products.
            cap: Bound of the logits, or None.
            grouping: ``repeat`` or ``tile``.
            handed: Whether the call's own scale and bound are taken.

        Returns:
            The largest difference relative to the largest output of its head, infinite where one of the two is not
            finite, NaN where no sampled row sees a key; and the limit.
        """
        call = self.call
        if handed:
            scale, cap = call.scale, call.softcap
        if grouping not in self.products:
            self.products[grouping] = self._products(grouping)
        logits = self.products[grouping] * (call.scale if scale is None else scale)
        logits = cap * torch.tanh(logits / cap) if cap else logits
        if call.bias is not None:
            bias = call.bias if call.bias.shape[2] == 1 else call.bias[:, :, self.rows]
            logits = logits + bias.double()
        seen = self.visible.expand(logits.shape)
        hidden = logits.masked_fill(~seen, -math.inf)
        top = hidden.amax(-1, keepdim=True)
        if call.sink is not None:
            top = torch.maximum(top, call.sink.double().view(1, -1, 1, 1))
        weights = (hidden - top.nan_to_num(neginf=0.0)).exp()
        total = weights.sum(-1, keepdim=True)
        if call.sink is not None:
            total = total + (call.sink.double().view(1, -1, 1, 1) - top).exp()
        made = self._weighed(weights / total.clamp_min(1e-300), grouping)
        return self._compared(made, seen.any(-1)), self._limit(logits, weights)

    def _limit(self, logits: Tensor, weights: Tensor) -> float:
        if any(name in self.way for name in KEEPS_LOGITS):
            return tolerance(self.call.query.dtype, 0.0)
        heavy = torch.where(weights > 1e-3, logits.abs().nan_to_num(0.0, 0.0, 0.0), 0.0)
        return tolerance(self.call.query.dtype, float(heavy.max()) if heavy.numel() else 0.0)

    def _compared(self, made: Tensor, judged: Tensor) -> float:
        if not bool(judged.any()):
            return math.nan
        gap = (made - self.own).abs().amax(-1)[judged]
        if not bool(gap.isfinite().all()):
            return math.inf
        largest = torch.where(judged[..., None], self.own, 0.0).abs().amax(dim=(0, 2, 3))
        largest = torch.where(largest > 0, largest, largest.max().clamp_min(1e-300))
        return float((gap / largest[None, :, None].expand(judged.shape)[judged]).max())
