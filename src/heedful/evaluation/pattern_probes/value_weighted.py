"""Measure attention mass weighted by the norms of the values after the output projection."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.registry import PROBES

NEAR_ZERO = 0.25
"""A value is near zero where its norm, after the output projection, is below this share of the median one."""

_PROJECTIONS = ("o_proj", "out_proj", "c_proj", "wo", "to_out", "dense", "out_lin", "output.dense", "out")


def output_weights(module: nn.Module, heads: int, value_dim: int) -> Tensor | None:
    """Return the output projection of an attention module, split by head; None if it is not found.

    Args:
        module: The attention module; its projection is a child under one of the usual names.
        heads: Query heads.
        value_dim: Components of a value.

    Returns:
        ``(head, value_dim, width)``; None where no child of these names takes ``heads * value_dim`` numbers.
    """
    for name in _PROJECTIONS:
        try:
            child = module.get_submodule(name)
        except AttributeError:
            continue
        weight = getattr(child, "weight", None)
        weight = _own_rows(weight)
        if weight is None:
            continue
        if weight.dim() != 2 or not weight.is_floating_point() or weight.is_meta:  # offloaded: its numbers are not here
            continue
        wide = weight.detach()
        wide = wide if type(child).__name__ == "Conv1D" else wide.T  # Conv1D stores (in, out)
        if wide.shape[0] == heads * value_dim:
            return wide.reshape(heads, value_dim, -1)
    return None


def _own_rows(weight: object) -> Tensor | None:
    """The weight, of a divided one the part of the heads that this process holds; None where that is not known."""
    placements = getattr(weight, "placements", None)
    if placements is not None and all(one.is_replicate() or one.is_shard(1) for one in placements):
        return weight.to_local()  # type: ignore[attr-defined,no-any-return]
    return weight if type(weight) in (Tensor, nn.Parameter) else None  # type: ignore[return-value]


def value_norms(call: AttentionCall, weights: Tensor | None) -> Tensor:
    r"""Return the norm of each key's value after the head's output projection: :math:`\lVert v_j W_O^h \rVert`.

    Args:
        call: The call, with values.
        weights: ``(head, value_dim, width)``; None takes the norm of the value itself.

    Returns:
        ``(batch, head, key)`` float64.
    """
    if call.value is None:
        return torch.full((call.batch, call.heads, call.n_keys), math.nan, dtype=torch.double)
    value, group = call.value.to(torch.promote_types(call.value.dtype, torch.float32)), call.heads // call.kv_heads
    if weights is None:
        return value.double().norm(dim=-1).repeat_interleave(group, dim=1)
    wide = weights.double()
    gram = (wide @ wide.transpose(-1, -2)).to(value)  # (head, value_dim, value_dim): smaller than the projected values
    dim = value.shape[-1]
    beside = gram.view(call.kv_heads, group, dim, dim).transpose(1, 2).reshape(call.kv_heads, dim, group * dim)
    turned = (value @ beside).unflatten(-1, (group, dim))  # (batch, kv_head, key, head of the group, value_dim)
    squares = torch.linalg.vecdot(turned, value[..., None, :])
    return squares.transpose(-1, -2).flatten(1, 2).double().clamp_min(0).sqrt()


def value_weighted(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Return two masses of each head, ``(sequence, head)``: on the first key, weighted by value norms, and on keys of
    near-zero value norm.

    With :math:`f_j = \lVert v_j W_O^h \rVert`,

    .. math:: \text{weighted\_sink} = \mathrm{mean}_i \frac{A_{i,j_0} f_{j_0}}{\sum_j A_{ij} f_j}, \qquad
              \text{near\_zero} = \mathrm{mean}_i \Bigl(1 - \sum_{j\,:\,f_j \ge f_{\mathrm{med}} / 4} A_{ij}\Bigr)

    over the rows that see a key (the first over those that see 8). A learned sink has no value at all, so its weight
    counts as near zero.

    Reading: a head whose weight falls on near-zero values writes next to nothing there: it is dormant on this text.
    Pitfall: the median is over the keys of one sequence; a head whose values are all small is not near zero by it.
    Source: Kobayashi et al. 2020, arXiv:2004.10102; Guo et al. 2024, arXiv:2410.13835 (dormant heads).

    Args:
        sight: The call.

    Returns:
        ``weighted_sink_mass``, ``near_zero_mass`` ``(sequence, head)``; NaN without values.
    """
    call, moments = sight.event.call, sight.moments
    names = ("weighted_sink_mass", "near_zero_mass")
    if call.value is None:
        return dict.fromkeys(names, torch.full((call.batch, call.heads), math.nan))
    norms = _norms(sight)
    rows, keys = moments.rows, moments.keys
    present = keys.seen_by > 0
    middle = norms.masked_fill(~present, math.nan).nanmedian(-1, keepdim=True).values
    sized = (norms >= NEAR_ZERO * middle) & present
    count = (rows.visible > 0).sum(-1)
    near_zero = 1 - (keys.received.double() * sized).sum(-1) / count.masked_fill(count == 0, -1)
    return {
        "weighted_sink_mass": _weighted_first(sight, norms),
        "near_zero_mass": near_zero.clamp(0, 1).masked_fill(count == 0, math.nan),
    }


RUN = "kernel of norms and ones"
NORMS = "norms of values"


def kernel_ones(sight: ProbedCall) -> Tensor:
    """Return the output of the module's own attention kernel for values of one; the same run also passes the values'
    norms through the kernel.

    Args:
        sight: The call, with values and without dropout.

    Returns:
        ``(batch, head, query, component)`` of ones. The run is kept under ``RUN``: the norms of the heads that share a
        key head, over the largest of the sequence, are its first components.
    """
    call = sight.event.call
    if call.value is None:
        raise ValueError("kernel of ones: the call has no values")
    laid, group = torch.ones_like(call.value), call.heads // call.kv_heads
    if group < laid.shape[-1]:
        norms = _norms(sight)
        shared = (norms / _largest(norms)).view(call.batch, call.kv_heads, group, call.n_keys)
        laid[..., :group] = shared.transpose(-1, -2).to(laid)  # half precision holds ratios
        sight.kept[RUN] = sight.event.run(laid)
        return sight.kept[RUN][..., group:]
    ones = sight.event.run(laid)
    if group == laid.shape[-1]:
        norms = _norms(sight)
        shared = (norms / _largest(norms)).view(call.batch, call.kv_heads, group, call.n_keys)
        sight.kept[RUN] = sight.event.run(shared.transpose(-1, -2).to(laid).contiguous())
    return ones


def _norms(sight: ProbedCall) -> Tensor:
    """Norms of the values as each head writes them, ``(batch, head, key)``, computed once a call."""
    call = sight.event.call
    if call.value is not None and NORMS not in sight.kept:
        sight.kept[NORMS] = value_norms(call, output_weights(sight.event.module, call.heads, call.value.shape[-1]))
    return sight.kept[NORMS]


def _largest(norms: Tensor) -> Tensor:
    """Largest norm of each sequence, ``(batch, 1, 1)``."""
    return norms.amax((-1, -2), keepdim=True).clamp_min(1e-30)


def _weighted_first(sight: ProbedCall, norms: Tensor) -> Tensor:
    """Share of the first key in the sum of weight times norm, mean over judged rows, ``(sequence, head)``."""
    call, rows = sight.event.call, sight.moments.rows
    nothing = torch.full((call.batch, call.heads), math.nan, dtype=torch.double, device=norms.device)
    group = call.heads // call.kv_heads
    if call.value is None or sight.event.dropout or group > call.value.shape[-1]:
        return nothing
    if RUN not in sight.kept:
        kernel_ones(sight)
    largest = _largest(norms)
    head = torch.arange(call.heads, device=norms.device)
    columns = sight.kept[RUN][:, head, :, head % group].transpose(0, 1).double()
    total = columns * largest.to(norms)
    first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, norms.device)
    at_first = norms.gather(-1, first[:, None].expand(-1, call.heads, -1))
    share = rows.first_mass.double() * at_first / total.masked_fill(total <= 0, math.nan)
    return share.masked_fill(rows.visible < MIN_VISIBLE, math.nan).nanmean(-1)


PROBES.add("value_weighted", value_weighted)
