"""Read the kernel's own weights from its output, with values that are one at a chosen key and zero elsewhere.

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
