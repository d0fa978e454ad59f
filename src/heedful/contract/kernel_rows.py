"""The kernel's own weights: its output for values that are one at a chosen key and zero elsewhere.

A kernel asked for ``softmax(...) V`` with one-hot columns ``V`` returns its weights. Queries are never sampled in
such a replay, since a missing mask with a causal flag would then mean something else; keys may be.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.contract.rules import Rules
from heedful.interception.event import AttentionEvent

WHOLE = 8
"""Calls of the kernel up to which every key is asked for."""

SAMPLED = 2
"""Calls for sampled keys, where the keys are more."""


@dataclass
class KernelRows:
    """Weights of one call at some keys.

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
    """Read a call's weights from its kernel.

    Args:
        event: The call.
        rules: What is promised, for the choice of keys.
        whole: Whether every key is asked for, whatever it costs.
    """
    call = event.call
    width = call.value.shape[-1]  # type: ignore[union-attr]
    all_of_them = whole or call.n_keys <= WHOLE * width
    wanted = list(range(call.n_keys)) if all_of_them else rules.telling_keys(SAMPLED * width)
    parts = [_weights_at(event, wanted[begin : begin + width]) for begin in range(0, len(wanted), width)]
    keys = torch.tensor(wanted, device=call.query.device)
    sums, heads = _sums_and_heads(event)
    return KernelRows(keys, torch.cat(parts, -1), sums, heads, all_of_them)


def _weights_at(event: AttentionEvent, keys: list[int]) -> Tensor:
    value = torch.zeros_like(event.call.value)  # type: ignore[arg-type]
    for column, key in enumerate(keys):
        value[:, :, key, column] = 1
    return event.run(value)[..., : len(keys)]


def _sums_and_heads(event: AttentionEvent) -> tuple[Tensor, Tensor]:
    """Sums of rows, and the key head that each query head reads, of one call: a column of ones, one of head numbers."""
    call: AttentionCall = event.call
    value = torch.zeros_like(call.value)  # type: ignore[arg-type]
    numbers = torch.arange(1, value.shape[1] + 1, device=value.device, dtype=value.dtype)
    value[..., 0] = 1
    if value.shape[-1] > 1:
        value[..., 1] = numbers[:, None]
    output = event.run(value)
    sums = output[..., 0]
    if value.shape[-1] < 2:
        return sums, torch.full((call.heads,), -1, device=value.device)
    read = torch.where(sums.abs() > 1e-3, output[..., 1] / sums, torch.nan).float()
    heads = read.nanmedian(dim=-1).values.nanmedian(dim=0).values
    whole = (heads - heads.round()).abs() < 0.02
    return sums, torch.where(whole, heads.round() - 1, -1.0).nan_to_num(-1.0).long()
