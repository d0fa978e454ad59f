"""Probes that summarise the rows of an attention call: head statistics, mass by distance and by token group,
dependence on the number of keys, and correctness.

Probe how queries differ: Jensen-Shannon divergence between attention rows over their common keys.

Probe how attention depends on token identity: pairs of equal tokens, and repeated random sequences.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from heedful.attention.axes import LAGS, MIN_VISIBLE
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.points import logits_at, rows_at, seen_at
from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.evaluation.evidence import Probe, ProbedCall
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


QUERIES = 12
"""Query positions at which rows are compared, spread over the sequence."""


def jensen_shannon(left: Tensor, right: Tensor, common: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of two sets of rows, each renormalised over the common keys.

    Args:
        left: ``(..., key)`` weights, 0 where unseen.
        right: ``(..., key)`` weights of the rows to compare.
        common: Bool, broadcastable to ``(..., key)``: keys that both rows see.

    Returns:
        ``(...)`` in nats, between 0 and log 2; NaN where the rows share fewer than ``MIN_VISIBLE`` keys or either has
        no weight there.
    """
    a, b = _over(left, common), _over(right, common)
    middle = (a + b) / 2
    value = (torch.xlogy(a, a / middle.clamp_min(1e-38)) + torch.xlogy(b, b / middle.clamp_min(1e-38))).sum(-1) / 2
    return value.clamp_min(0).masked_fill(common.sum(-1) < MIN_VISIBLE, math.nan)


def _over(rows: Tensor, common: Tensor) -> Tensor:
    """Rows renormalised over some keys; NaN where they have no weight there."""
    kept = rows * common
    return kept / kept.sum(-1, keepdim=True)


def by_position(left: Tensor, right: Tensor, common: Tensor) -> Tensor:
    """Return the part of the divergence between two sets of rows that their positions explain.

    Jensen-Shannon divergence is convex, so that it is at most the mean of the sequences' own divergences, and equal to
    it where the pattern is the same in every sequence. Source: Lin 1991, doi:10.1109/18.61115.

    Args:
        left: ``(sequence, ..., key)`` weights, 0 where unseen.
        right: The same of the rows to compare.
        common: Bool, broadcastable: keys that both rows see.

    Returns:
        ``(sequence, ...)`` in nats, over the keys that each sequence sees; NaN where there is but one sequence.
    """
    if len(left) < 2:
        return torch.full(left.shape[:-1], math.nan, device=left.device)
    a, b = (_over(rows, common).nanmean(0, keepdim=True).nan_to_num() for rows in (left, right))
    if common.shape[0] == 1 or common.stride(0) == 0:  # every sequence sees the same keys
        return jensen_shannon(a, b, common[:1]).expand(left.shape[:-1])
    return jensen_shannon(a.expand_as(left), b.expand_as(left), common)


def without_own_share(shared: Tensor, own: Tensor) -> Tensor:
    r"""Correct the divergence that positions explain: each sequence is itself part of the mean pattern.

    The mean of B patterns keeps 1/B of the divergence that content makes, to second order, so that a batch of two would
    show half of it as a matter of position. As with a sample variance, the excess is divided by 1 - 1/B:

    .. math:: \text{own} - \text{result} = (\text{own} - \text{shared}) \frac{B}{B - 1}

    Args:
        shared: ``(sequence, ...)`` divergence between the mean patterns.
        own: The same between the sequence's own rows; NaN where it has none.

    Returns:
        ``(sequence, ...)`` in nats; equal to ``own`` where all patterns are the same, and below 0 by chance.
    """
    count = (~own.isnan()).sum(0, keepdim=True)
    return shared - (own - shared) / (count - 1).clamp_min(1)


def query_variation(probed: ProbedCall) -> dict[str, Tensor]:
    """Return the Jensen-Shannon divergence between attention rows of different queries, ``(sequence, head)`` in nats.

    ``other_document``: the same position in the next sequence of the batch, which is of another document where the text
    has several: 0 for any pattern that depends on position alone. ``adjacent`` and ``distant``: the query 1 and 10
    positions before, in the same sequence; ``adjacent_by_position`` and ``distant_by_position`` the same between the
    mean patterns of the batch, corrected for its size.
    """
    call = probed.event.call
    nan = torch.full((call.batch, call.heads), math.nan)
    names = ("other_document", "adjacent", "distant", "adjacent_by_position", "distant_by_position")
    first, last = probed.span()
    if last - first < MIN_VISIBLE or call.n_queries != call.n_keys:
        return dict.fromkeys(names, nan)
    start = min(MIN_VISIBLE + LAGS[1], last - first)
    index = torch.linspace(start, last - first, QUERIES, device=call.query.device).round().long().unique() + first
    wanted = torch.cat([index, index - LAGS[0], (index - LAGS[1]).clamp_min(first)])
    rows, seen = rows_at(call, wanted).nan_to_num(), seen_at(call, wanted)
    here, adjacent, distant = rows.split(len(index), dim=2)
    sees, sees_adjacent, sees_distant = seen.split(len(index), dim=2)
    found = {"other_document": nan}
    pairs = {"adjacent": (adjacent, sees & sees_adjacent), "distant": (distant, sees & sees_distant)}
    for name, (before, common) in pairs.items():
        own = jensen_shannon(here, before, common)
        found[name] = own.nanmean(-1)
        found[f"{name}_by_position"] = without_own_share(by_position(here, before, common), own).nanmean(-1)
    if call.batch > 1:
        found["other_document"] = jensen_shannon(here, here.roll(1, dims=0), sees & sees.roll(1, dims=0)).nanmean(-1)
    return found


PAIRS = 48
"""Same-token pairs drawn per sequence."""

PARTNERS = 6
"""Other-token partners drawn for each pair."""

REACH = 10
"""Partners lie at most this many positions from the pair's own query and key."""


def _draw_pairs(tokens: Tensor, real: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of positions of one token, drawn evenly over all such pairs, with replacement.

    Positions are grouped by sorting, so that no (token, token) array is built.

    Returns:
        Later and earlier position, at least 2 apart; fewer than ``PAIRS`` where neighbours were drawn.
    """
    position = real.nonzero()[:, 0]
    position = position[torch.argsort(tokens[position], stable=True)]
    _, counts = tokens[position].unique_consecutive(return_counts=True)
    pairs = (counts * (counts - 1) // 2).double()
    if not bool(pairs.any()):
        return position[:0], position[:0]
    group = torch.multinomial(pairs, PAIRS, replacement=True, generator=generator)
    start, count = (counts.cumsum(0) - counts)[group], counts[group]
    first = (torch.rand(PAIRS, generator=generator) * count).long().clamp_max(count - 1)
    second = (torch.rand(PAIRS, generator=generator) * (count - 1)).long().clamp_max(count - 2)
    second = second + (second >= first)
    a, b = position[start + first], position[start + second]
    later, earlier = torch.maximum(a, b), torch.minimum(a, b)
    apart = later - earlier > 1
    return later[apart], earlier[apart]


def draw_quadruples(ids: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
    """Draw 2 x 2 tables of two queries by two keys, in which one pair has equal tokens and the other three differ;
    return their indices, ``(table, 5)``.

    For a pair ``j < i`` of equal tokens, a query ``i'`` near ``i`` and a key ``j'`` near ``j`` such that the other
    three cells join different tokens and every key lies before every query.

    Args:
        ids: ``(sequence, token)`` on the CPU.
        real: ``(sequence, token)`` bool.
        generator: Randomness.

    Returns:
        ``(cell, 5)`` int64: sequence, i, j, i', j'.
    """
    found: list[Tensor] = []
    for row in range(len(ids)):
        tokens, n = ids[row], ids.shape[1]
        i, j = (x.repeat_interleave(PARTNERS) for x in _draw_pairs(tokens, real[row], generator))
        other_i = i + torch.randint(-REACH, REACH + 1, i.shape, generator=generator)
        other_j = j + torch.randint(-REACH, REACH + 1, j.shape, generator=generator)
        inside = (
            (other_i >= 0) & (other_i < n) & (other_j >= 0) & (torch.maximum(j, other_j) < torch.minimum(i, other_i))
        )
        i, j, other_i, other_j = (x[inside] for x in (i, j, other_i, other_j))
        good = real[row][other_i] & real[row][other_j]
        for a, b in ((i, other_j), (other_i, j), (other_i, other_j)):
            good &= tokens[a] != tokens[b]
        i, j, other_i, other_j = (x[good] for x in (i, j, other_i, other_j))
        found.append(torch.stack([torch.full_like(i, row), i, j, other_i, other_j], dim=1))
    return torch.cat(found) if found else torch.zeros(0, 5, dtype=torch.long)


def same_token(seed: int) -> Probe:
    """Return a probe that measures attraction between equal tokens, as the mean log odds ratio of 2 x 2 tables,
    ``(sequence, head)``.

    Row normalisers and the popularity of keys cancel in each 2 x 2 table, so a head that merely likes frequent tokens,
    or certain positions, has 0; a bias of relative position cancels as far as it is smooth.
    """
    cells: dict[int, Tensor] = {}

    def probe(probed: ProbedCall) -> dict[str, Tensor]:
        call, batch = probed.event.call, probed.batch
        size = (len(batch.input_ids), call.heads)
        if call.n_keys != batch.input_ids.shape[1] or call.n_queries != call.n_keys:
            return {"same_token": torch.full(size, math.nan)}
        key = int(batch.index[0])
        if key not in cells:
            generator = torch.Generator().manual_seed(seed * 7919 + key)
            real = batch.attention_mask.bool() & ~batch.special
            cells[key] = draw_quadruples(batch.input_ids.cpu(), real.cpu(), generator)
        row, i, j, other_i, other_j = cells[key].to(call.query.device).unbind(1)
        if not len(row):
            return {"same_token": torch.full(size, math.nan)}
        corners = ((i, j), (i, other_j), (other_i, j), (other_i, other_j))
        seen = torch.ones_like(row, dtype=torch.bool)
        for a, b in corners:
            seen &= call.visibility.at(row, a, b, call.n_queries, call.n_keys)
        queries, keys = (torch.cat(places) for places in zip(*corners, strict=True))
        logit = logits_at(call, row.repeat(4), queries, keys).unflatten(1, (4, -1)).unbind(1)
        odds = (logit[0] - logit[1] - logit[2] + logit[3]).double().masked_fill(~seen, 0)
        total = torch.zeros(*reversed(size), dtype=torch.double, device=odds.device).index_add_(1, row, odds)
        count = torch.zeros(size[0], dtype=torch.double, device=odds.device).index_add_(0, row, seen.double())
        return {"same_token": (total / count.masked_fill(count == 0, math.nan)).T}

    return probe


REPEATED = {"induction_mass": "induction_mass", "duplicate_mass": "same_token_mass"}
"""Masses on repeats, and the engine's names of them."""


def repeats(periods: Tensor, prefix: int) -> Probe:
    r"""Return a probe for repeated random sequences: the mass on tokens that followed earlier copies of the query's
    token, and on the copies.

    .. math:: \text{induction}_i = \sum_{j \le i,\; t_{j-1} = t_i} a_{ij}, \qquad
              \text{duplicate}_i = \sum_{j \ne i,\; t_j = t_i} a_{ij}

    averaged over the queries of the second and later copies: the weight on *every* key that follows an earlier
    occurrence of the query's token, and on every other visible key of the same token. These are the engine's group
    masses (``Groups.tokens``). Source: Olsson et al. 2022, arXiv:2209.11895.

    Pitfall: with many copies a head that reads but the last one puts no more weight there than one that reads all; the
    mass does not tell them apart. What the model does depends on period and number of copies.

    Args:
        periods: ``(sequence,)`` period of each of the study's repeated sequences.
        prefix: Number of special tokens before the repeats begin.

    Returns:
        A probe giving ``induction_mass``, ``duplicate_mass`` ``(sequence, head)``; NaN where no token repeats.
    """

    def probe(probed: ProbedCall) -> dict[str, Tensor]:
        call, batch = probed.event.call, probed.batch
        period = periods[batch.index]
        found = {name: torch.full((len(period), call.heads), math.nan) for name in REPEATED}
        if call.n_queries != batch.input_ids.shape[1] or call.n_queries != call.n_keys:
            return found
        wanted = Extras(groups=Groups(tokens=batch.input_ids), only=frozenset())
        rows = tiled(replace(call, value=None), wanted).rows
        place, end = torch.arange(call.n_queries), batch.attention_mask.sum(1).cpu()
        later = (place >= prefix + period[:, None]) & (place < end[:, None])
        count = later.sum(1).double().masked_fill(~later.any(1), math.nan)
        for name, engine in REPEATED.items():
            mass = getattr(rows, engine).double().cpu()
            found[name] = mass.masked_fill(~later[:, None], 0.0).sum(-1) / count[:, None]
        return found

    return probe
