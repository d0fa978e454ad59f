"""Probe how attention depends on token identity: pairs of equal tokens, and repeated random sequences."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.points import logits_at
from heedful.attention.engines.tiled import tiled
from heedful.evaluation.evidence import Probe, ProbedCall

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
    r"""Return a probe for repeated random sequences that measures the attention mass on tokens that follow earlier
    copies of the query's token, and on other copies of it, ``(sequence, head)`` each.

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
