"""Recompute a few output rows of a call from query, key and value, with the call's own scale and softcap and with
promised ones.

What goes on to the model is compared, not a replay of the kernel, and only as many rows as are sampled are ever held.

Read the kernel's own weights from its output, with values that are one at a chosen key and zero elsewhere.

A kernel asked for ``softmax(...) V`` with one-hot columns ``V`` returns its weights. Queries are never sampled in
such a replay, since a missing mask with a causal flag would then mean something else; keys may be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.contract.rules import Rules
from heedful.interception.agreement import KEEPS_LOGITS, tolerance
from heedful.interception.event import AttentionEvent

ROWS = 8
"""Queries of which the output is computed again."""


class SampledRows:
    """Sampled output rows of one call, to be compared with recomputed ones.

    Args:
        event: The call.
        own: ``(batch, head, query, value_dim)`` output that goes on to the model.
        rows: Queries; None spreads a few evenly.
    """

    def __init__(self, event: AttentionEvent, own: Tensor, rows: list[int] | None = None) -> None:
        call = event.call
        self.call, self.way = call, event.way
        count = min(ROWS, call.n_queries)
        rows = rows or [round(place * (call.n_queries - 1) / max(1, count - 1)) for place in range(count)]
        self.rows = torch.tensor(rows, device=call.query.device)
        self.own = own[:, :, self.rows].double()
        self.query = call.query[:, :, self.rows].double()
        self.key, self.value = call.key.double(), call.value.double()  # type: ignore[union-attr]
        sizes = (0, call.n_keys, call.n_queries, call.n_keys)
        parts = [call.visibility.block(row, row + 1, *sizes, call.query.device) for row in rows]
        self.visible = torch.cat(parts, 2)
        self.products = {"repeat": _products(self.query, self.key, "repeat")}

    def error(
        self, scale: float | None = None, cap: float | None = None, grouping: str = "repeat", *, handed: bool = False
    ) -> tuple[float, float]:
        """Return how far the call's output lies from the one recomputed with these numbers (relative), and what
        rounding explains of it.

        Args:
            scale: Factor of the products.
            cap: Bound of the logits, or None.
            grouping: ``repeat`` or ``tile``.
            handed: Whether the call's own scale and bound are taken.

        Returns:
            The largest difference relative to the largest output of its head, infinite where one of the two is not
            finite, NaN where no sampled row sees a key; and the limit.
        """
        if handed:
            scale, cap = self.call.scale, self.call.softcap
        if grouping not in self.products:
            self.products[grouping] = _products(self.query, self.key, grouping)
        logits, weights = self._weights(self.products[grouping], scale, cap)
        made = _weighed(weights, self.value, grouping)
        return self._compared(made, self.visible.expand(logits.shape).any(-1)), self._limit(logits, weights)

    def output(
        self,
        scale: float,
        cap: float | None,
        grouping: str,
        *,
        key: Tensor | None = None,
        query_of: tuple[int, int] | None = None,
    ) -> Tensor:
        """Compute the output rows by formula, ``(batch, head, row, value_dim)``.

        Args:
            scale: Factor of the products.
            cap: Bound of the logits, or None.
            grouping: ``repeat`` or ``tile``.
            key: Keys in place of the call's.
            query_of: A sequence, and the one whose queries and values it takes.
        """
        query, value = self.query, self.value
        if query_of is not None:
            query, value = query.clone(), value.clone()
            query[query_of[0]], value[query_of[0]] = query[query_of[1]], value[query_of[1]]
        products = _products(query, self.key if key is None else key, grouping)
        return _weighed(self._weights(products, scale, cap)[1], value, grouping)

    def _weights(self, products: Tensor, scale: float | None, cap: float | None) -> tuple[Tensor, Tensor]:
        call = self.call
        logits = products * (call.scale if scale is None else scale)
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
        return logits, weights / total.clamp_min(1e-300)

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


def _products(query: Tensor, key: Tensor, grouping: str) -> Tensor:
    """``q.k``, ``(batch, head, row, key)``."""
    batch, heads, rows, dim = query.shape
    groups = heads // key.shape[1]
    if grouping == "tile":
        return (query.view(batch, groups, -1, rows, dim) @ key[:, None].transpose(-1, -2)).flatten(1, 2)
    return (query.view(batch, -1, groups, rows, dim) @ key[:, :, None].transpose(-1, -2)).flatten(1, 2)


def _weighed(weights: Tensor, value: Tensor, grouping: str) -> Tensor:
    batch, heads, rows, keys = weights.shape
    groups = heads // value.shape[1]
    if grouping == "tile":
        return (weights.view(batch, groups, -1, rows, keys) @ value[:, None]).flatten(1, 2)
    return (weights.view(batch, -1, groups, rows, keys) @ value[:, :, None]).flatten(1, 2)


WHOLE = 8
"""Calls of the kernel up to which every key is asked for."""

SAMPLED = 1
"""Calls for sampled keys, where the keys are more."""

BESIDE = 2
"""Columns beside the keys of the first call: ones, which give the sums of rows, and the numbers of key heads."""


@dataclass
class KernelRows:
    """A kernel's attention weights at some keys, and the row sums.

    Attributes:
        keys: ``(column,)`` key positions.
        weights: ``(batch, head, query, column)``.
        sums: ``(batch, head, query)`` of all weights of a row.
        value_heads: ``(head,)`` key head whose values each query head reads; -1 where it cannot be told.
        whole: Whether the columns are all keys.
    """

    keys: Tensor
    weights: Tensor
    sums: Tensor
    value_heads: Tensor
    whole: bool


def kernel_rows(event: AttentionEvent, rules: Rules, *, whole: bool = False) -> KernelRows:
    """Read a call's attention weights from its kernel.

    Args:
        event: The call.
        rules: What is promised, for the choice of keys.
        whole: Whether every key is asked for, whatever it costs.
    """
    call = event.call
    width = call.value.shape[-1]  # type: ignore[union-attr]
    beside = BESIDE if width > 2 * BESIDE else 0
    all_of_them = whole or call.n_keys <= WHOLE * width
    wanted = list(range(call.n_keys)) if all_of_them else rules.telling_keys(SAMPLED * width - beside)
    first, rest = wanted[: width - beside], wanted[width - beside :]
    output = _answer(event, first, beside)
    parts = [output[..., : len(first)]]
    parts += [_answer(event, rest[begin : begin + width], 0) for begin in range(0, len(rest), width)]
    keys = torch.tensor(wanted, device=call.query.device)
    sums, heads = _sums_and_heads(call, output[..., -2:] if beside else _answer(event, [], min(BESIDE, width)))
    return KernelRows(keys, torch.cat(parts, -1) if len(parts) > 1 else parts[0], sums, heads, all_of_them)


def _answer(event: AttentionEvent, keys: list[int], beside: int) -> Tensor:
    """The kernel's output for one column a key and, last, a column of ones and one of key heads' numbers."""
    value = torch.zeros_like(event.call.value)  # type: ignore[arg-type]
    for column, key in enumerate(keys):
        value[:, :, key, column] = 1
    if beside:
        value[..., -beside] = 1
    if beside == BESIDE:
        value[..., -1] = torch.arange(1, value.shape[1] + 1, device=value.device, dtype=value.dtype)[:, None]
    output = event.run(value)
    return output if beside else output[..., : len(keys)]


def _sums_and_heads(call: AttentionCall, output: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of rows, and the key head that each query head reads, out of the columns beside the keys."""
    sums = output[..., -min(BESIDE, output.shape[-1])]
    if output.shape[-1] < BESIDE:
        return sums, torch.full((call.heads,), -1, device=output.device)
    read = torch.where(sums.abs() > 1e-3, output[..., -1] / sums, torch.nan).float()
    heads = read.nanmedian(dim=-1).values.nanmedian(dim=0).values
    whole = (heads - heads.round()).abs() < 0.02
    return sums, torch.where(whole, heads.round() - 1, -1.0).nan_to_num(-1.0).long()
