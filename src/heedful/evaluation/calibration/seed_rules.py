"""Judge attention by the rules of an older validation guide, whose thresholds depend on the sequence length.

Its row_std, mean deviation, share of the maximal entropy, near to far ratio, repetition ratio and query variation are
taken as published: masked zeros counted, one sequence, ``N`` the length of the tensor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import block_at

ROWS_AT_ONCE, QUERIES = 128, 64


def seed_answers(call: AttentionCall, ids: Tensor) -> dict[str, list[bool]]:
    """Return the yes-or-no answers of the older guide for the first sequence of a call, by rule.

    Args:
        call: The call.
        ids: ``(sequence, token)``.

    Returns:
        Rule to one answer a head, or one answer where the guide averages over heads.
    """
    sums = _sums(call, ids[0])
    length = call.n_keys
    spread, deviation = sums["row_std"] / length, sums["mean_dev"] / length
    share = float(sums["entropy"].mean()) / length / math.log(length)
    near, far = float(sums["near"].mean()), float(sums["far"].mean())
    same = float(sums["same"].mean() / sums["same_pairs"]) if float(sums["same_pairs"]) else math.nan
    other = float(sums["other"].mean() / sums["other_pairs"])
    return {
        "row_std: SHARP": (spread > 0.10).tolist(),
        "row_std: UNIFORM": (spread <= 0.05).tolist(),
        "different from uniform": [float(deviation.mean()) > 0.05],
        "entropy: nearly uniform": [share >= 0.8],
        "local bias": [near > 1.1 * far] if length >= 10 else [],
        "repeated tokens attract": [] if math.isnan(same) else [same > 1.2 * other],
        "queries attend differently": [float(sums["variation"].mean()) > 0.05],
    }


def _sums(call: AttentionCall, ids: Tensor) -> dict[str, Tensor]:
    """Sums over the rows of the first sequence, block by block, one a head."""
    heads, length = call.heads, call.n_keys
    first = _first_sequence(call)
    names = ("row_std", "mean_dev", "entropy", "near", "far", "same", "other")
    sums = {name: torch.zeros(heads) for name in names} | {
        "same_pairs": torch.zeros(()),
        "other_pairs": torch.zeros(()),
    }
    kept = []
    step = max(1, length // QUERIES)
    back = torch.arange(length)
    for begin in range(0, length, ROWS_AT_ONCE):
        end = min(begin + ROWS_AT_ONCE, length)
        rows = block_at(first, begin, end)[0]
        query = torch.arange(begin, end)
        distance = query[:, None] - back[None, :]
        own = rows[:, torch.arange(end - begin), query]
        others = ((rows**2).sum(-1) - own**2) / (length - 1) - ((1 - own) / (length - 1)) ** 2
        sums["row_std"] += others.clamp_min(0).sqrt().sum(-1)
        sums["mean_dev"] += ((rows - 1 / length) ** 2).mean(-1).sqrt().sum(-1)
        sums["entropy"] += -torch.xlogy(rows, rows).sum((-1, -2))
        for lag in range(1, 6):
            sums["near"] += (rows * (distance == lag)).sum((-1, -2)) / (length - lag) / 5
            sums["far"] += (rows * (distance == length - lag)).sum((-1, -2)) / lag / 5
        equal = (ids[query][:, None] == ids[None, :]) & (distance > 0)
        unequal = (distance > 0) & ~equal
        sums["same"] += (rows * equal).sum((-1, -2))
        sums["other"] += (rows * unequal).sum((-1, -2))
        sums["same_pairs"] += equal.sum()
        sums["other_pairs"] += unequal.sum()
        kept.append(rows[:, (query % step == 0).nonzero()[:, 0]])
    sampled = torch.cat(kept, dim=1)
    apart = torch.cdist(sampled, sampled)
    pairs = torch.triu(torch.ones(apart.shape[-1], apart.shape[-1]), diagonal=1).bool()
    return sums | {"variation": apart[:, pairs].mean(-1)}


def _first_sequence(call: AttentionCall) -> AttentionCall:
    from dataclasses import replace

    return replace(call, query=call.query[:1], key=call.key[:1])
