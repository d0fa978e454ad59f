"""Probes that summarise the rows of an attention call: head statistics, mass by distance and by token group,
dependence on the number of keys, and correctness.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.points import rows_at
from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.pattern_probes.value_weighted import kernel_ones
from heedful.interception.agreement import limit_of, output_error
from heedful.interception.sequence_means import sequence_means

SAMPLED_ROWS = 8
"""Rows per call on which the tight lower bound of the entropy is checked."""


def row_statistics(probed: ProbedCall) -> dict[str, Tensor]:
    """Return every registered head statistic, and the log contrast between near and far keys, averaged over rows that
    see enough keys, ``(sequence, head)`` each.
    """
    rows = probed.moments.rows
    found = {name: sequence_means(rows, facts.of(rows)) for name, facts in STATISTICS.items()}
    if rows.log_contrast is not None:
        found["log_contrast"] = sequence_means(rows, rows.log_contrast)
    return found


def growth(probed: ProbedCall) -> dict[str, Tensor]:
    """Return mean concentration (nats from uniform) and mean log number of visible keys, separately for rows with few
    and with many visible keys, ``(sequence, head)`` each.
    """
    rows = probed.moments.rows
    seen = rows.visible.double()
    kl = (seen.log() - rows.entropy.double()).clamp_min(0)
    longest = seen.amax(dim=-1, keepdim=True).clamp_min(MIN_VISIBLE)
    middle = (longest * MIN_VISIBLE).sqrt()
    judged = rows.visible >= MIN_VISIBLE
    found = {}
    for name, side in (("short", judged & (seen < middle)), ("long", judged & (seen >= middle))):
        found[f"concentration_{name}"] = kl.masked_fill(~side, math.nan).nanmean(-1)
        found[f"log_keys_{name}"] = seen.log().masked_fill(~side, math.nan).nanmean(-1)
    return found


def distances(probed: ProbedCall) -> dict[str, Tensor]:
    """Return attention mass by distance, measured and under uniform attention, ``(sequence, head, bin)``."""
    rows = probed.moments.rows
    if rows.distance_mass is None:
        return {}
    call = probed.event.call
    alike = call.visibility.only_causal() or call.visibility.hides_nothing()  # the same for every sequence
    some = slice(0, 1) if alike else slice(None)
    visibility = call.visibility.part(some, slice(0, 1))
    flat = replace(
        call,
        query=torch.zeros_like(call.query[some, :1, :, :1]),
        key=torch.zeros_like(call.key[some, :1, :, :1]),
        value=None,
        visibility=visibility,
        bias=None,
        softcap=None,
        sink=None,
    )
    uniform = tiled(flat, Extras(distances=True)).rows
    judged = (rows.visible >= MIN_VISIBLE)[..., None]
    seen = (uniform.visible >= MIN_VISIBLE)[..., None]
    actual = rows.distance_mass.masked_fill(~judged, math.nan).nanmean(2)
    expected = uniform.distance_mass
    if expected is None:
        return {}
    expected = expected.masked_fill(~seen, math.nan).nanmean(2).expand_as(actual)
    return {"distance_mass": actual, "distance_uniform": expected}


def token_groups(probed: ProbedCall) -> dict[str, Tensor]:
    """Return the mean attention mass on special and on punctuation tokens, and their mass under uniform attention,
    ``(sequence, head)`` each; NaN if no row sees such a token.
    """
    rows = probed.moments.rows
    if rows.group_mass is None or rows.group_visible is None:
        return {}
    judged = rows.visible >= MIN_VISIBLE
    found = {}
    for column, name in enumerate(("special", "punctuation")):
        present = judged & (rows.group_visible[..., column] > 0)
        mass = rows.group_mass[..., column].masked_fill(~present, math.nan).nanmean(-1)
        share = (rows.group_visible[..., column] / rows.visible).masked_fill(~present, math.nan).nanmean(-1)
        found[f"{name}_mass"], found[f"{name}_share"] = mass, share
    return found


def representations(probed: ProbedCall) -> dict[str, Tensor]:
    """Return the mean pairwise cosine distance of the module's inputs, ``(sequence,)``; NaN below two tokens."""
    entering = probed.event.entering
    if entering is None or entering.shape[0] != len(probed.batch.input_ids):
        return {"entering_spread": torch.full((len(probed.batch.input_ids),), math.nan)}
    real = probed.batch.attention_mask[:, : entering.shape[1]].float()
    if real.shape[1] != entering.shape[1]:
        return {"entering_spread": torch.full((len(real),), math.nan)}
    unit = torch.nn.functional.normalize(entering.float(), dim=-1) * real[..., None]
    n = real.sum(1)
    mean_cosine = ((unit.sum(1) ** 2).sum(-1) - n) / (n * (n - 1))
    return {"entering_spread": (1 - mean_cosine).masked_fill(n < 2, math.nan)}


def integrity(probed: ProbedCall) -> dict[str, Tensor]:
    """Return measures of incorrect attention by name, such as the number of non-finite rows or the largest row-sum
    error, ``(sequence, head)`` each.

    ``row_sum_error`` comes from the module's own kernel, run once more with values of one, NaN where no row could be
    judged; ``output_error`` ``(sequence,)`` is the difference of its output from the recomputed one,
    ``output_limit`` what rounding explains of it.
    """
    call, rows = probed.event.call, probed.moments.rows
    broken = (~torch.isfinite(rows.logsumexp) | ~torch.isfinite(rows.entropy)) & (rows.visible > 0)
    seen = (rows.visible > 0) & ~broken
    nowhere = torch.zeros_like(broken)
    overflow = probed.overflow
    found = {
        "nonfinite_rows": broken.sum(-1),
        "overflowing_rows": (nowhere if overflow is None else overflow.rows).sum(-1),
        "overflowing_products": (nowhere if overflow is None else overflow.products & ~broken).sum(-1),
        "empty_rows": (rows.visible == 0).sum(-1),
        "output_error": torch.full((call.batch,), output_error(probed.moments, probed.output)),
        "output_limit": torch.full((call.batch,), limit_of(probed.event, probed.moments, probed.output)),
        "visible_future": _visible_future(probed)[:, None].expand(-1, call.heads),
    }
    log_keys = rows.visible.clamp_min(1).log()
    entropy = rows.normalised_entropy
    found["entropy_excess"] = (entropy - log_keys).masked_fill(~seen | (rows.total <= 0), -math.inf).amax(-1)
    found["entropy_deficit"] = _below_bound(probed, entropy)
    if call.value is not None and not probed.event.dropout:
        ones = kernel_ones(probed).to(rows.total)
        gap = (ones - rows.total.nan_to_num()[..., None]).abs().amax(-1)
        worst = gap.nan_to_num(math.inf).masked_fill(~seen, -1).amax(-1)
        found["row_sum_error"] = worst.masked_fill(worst < 0, math.nan)
    return found


def _visible_future(probed: ProbedCall) -> Tensor:
    """Number of (query, later key) pairs that the call's rules leave visible, per sequence; NaN in cross-attention."""
    call = probed.event.call
    if call.offset is None:
        return torch.full((call.batch,), math.nan)
    if call.visibility.is_causal:
        return torch.zeros(call.batch)
    total = torch.zeros(call.batch)
    for begin in range(0, call.n_queries, 256):
        end = min(begin + 256, call.n_queries)
        seen = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, call.query.device)
        query = torch.arange(begin, end, device=seen.device)[:, None] + call.offset
        later = torch.arange(call.n_keys, device=seen.device)[None, :] > query
        count = (seen & later).any(1).expand(call.batch, -1, -1) if seen.dim() == 4 else seen & later
        total += count.sum((-1, -2)).cpu()
    return total


def _below_bound(probed: ProbedCall, entropy: Tensor) -> Tensor:
    """How far any sampled row's entropy lies below the least that its logits' norm allows, in nats; at most 0 if sound.

    Source: Zhai et al. 2023, arXiv:2303.06296, theorem 3.1.
    """
    call, rows = probed.event.call, probed.moments.rows
    first, last = probed.span()
    start = min(MIN_VISIBLE, last - first)
    index = torch.linspace(start, last - first, SAMPLED_ROWS, device=call.query.device).round().long().unique() + first
    weights = rows_at(call, index).double()
    seen = weights > 0
    n = seen.sum(-1)
    logs = torch.where(seen, weights.clamp_min(1e-300).log(), torch.zeros_like(weights))
    mean = logs.sum(-1) / n
    norm = (torch.where(seen, logs - mean[..., None], torch.zeros_like(logs)) ** 2).sum(-1).sqrt()
    beta = torch.exp(-norm * (n / (n - 1).clamp_min(1)).sqrt())
    total = 1 + (n - 1) * beta
    least = total.log() + norm * (n * (n - 1)).sqrt() * beta / total
    deficit = (least - entropy[:, :, index].double()).masked_fill((n < 2) | (rows.visible[:, :, index] != n), -math.inf)
    return deficit.masked_fill(deficit.isnan(), -math.inf).amax(-1)
