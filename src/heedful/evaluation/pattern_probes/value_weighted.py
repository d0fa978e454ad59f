"""Attention weighed by what its values carry: norms of weight times value times output projection."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.probe_registry import PROBES

NEAR_ZERO = 0.25
"""A value is near zero where its norm, after the output projection, is below this share of the median one."""

_PROJECTIONS = ("o_proj", "out_proj", "c_proj", "wo", "to_out", "dense", "out_lin", "output.dense", "out")


def output_weights(module: nn.Module, heads: int, value_dim: int) -> Tensor | None:
    """The output projection of an attention module by head.

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
    r"""Norm of each key's value as a head writes it: :math:`\lVert v_j W_O^h \rVert`.

    Args:
        call: The call, with values.
        weights: ``(head, value_dim, width)``; None takes the norm of the value itself.

    Returns:
        ``(batch, head, key)`` float64.
    """
    if call.value is None:
        return torch.full((call.batch, call.heads, call.n_keys), math.nan, dtype=torch.double)
    value, group = call.value.double(), call.heads // call.kv_heads
    if weights is None:
        return value.norm(dim=-1).repeat_interleave(group, dim=1)
    wide = weights.to(value)
    gram = wide @ wide.transpose(-1, -2)  # (head, value_dim, value_dim): smaller than the projected values
    dim = value.shape[-1]
    beside = gram.view(call.kv_heads, group, dim, dim).transpose(1, 2).reshape(call.kv_heads, dim, group * dim)
    turned = (value @ beside).unflatten(-1, (group, dim))  # (batch, kv_head, key, head of the group, value_dim)
    squares = torch.linalg.vecdot(turned, value[..., None, :])
    return squares.transpose(-1, -2).flatten(1, 2).clamp_min(0).sqrt()


def value_weighted(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Where weight times value goes, and how much weight falls on values of almost no size.

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
    norms = value_norms(call, output_weights(sight.event.module, call.heads, call.value.shape[-1]))
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


def _weighted_first(sight: ProbedCall, norms: Tensor) -> Tensor:
    """Share of the first key in the sum of weight times norm, mean over judged rows, ``(sequence, head)``."""
    call, rows = sight.event.call, sight.moments.rows
    nothing = torch.full((call.batch, call.heads), math.nan, dtype=torch.double, device=norms.device)
    group = call.heads // call.kv_heads
    if call.value is None or sight.event.dropout or group > call.value.shape[-1]:
        return nothing
    laid = torch.zeros_like(call.value)  # the norms of the heads that share a key head, one a component
    shared = norms.view(call.batch, call.kv_heads, group, call.n_keys)
    largest = shared.amax((-1, -2, -3), keepdim=True).clamp_min(1e-30)  # half precision holds ratios
    laid[..., :group] = (shared / largest).transpose(-1, -2).to(laid)
    head = torch.arange(call.heads, device=norms.device)
    total = sight.event.run(laid)[:, head, :, head % group].transpose(0, 1).double() * largest[..., 0].to(norms)
    first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, norms.device)
    at_first = norms.gather(-1, first[:, None].expand(-1, call.heads, -1))
    share = rows.first_mass.double() * at_first / total.masked_fill(total <= 0, math.nan)
    return share.masked_fill(rows.visible < MIN_VISIBLE, math.nan).nanmean(-1)


PROBES.add("value_weighted", value_weighted)
