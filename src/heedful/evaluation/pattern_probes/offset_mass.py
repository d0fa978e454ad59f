"""Measure the attention weight at fixed offsets from the query position, forwards and backwards."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.engines.points import logits_at
from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.probe_registry import PROBES

REACH = 8
"""Offsets from -8 to 8 are told apart."""

POINTS = 2**16
"""Logits of each head that are computed together."""

OFFSETS = tuple(range(-REACH, REACH + 1))


def offset_mass(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Return the mean weight on the key at each fixed offset from the query, ``(sequence, head, offset)``.

    .. math:: \text{mass}_d = \mathrm{mean}_i\, A_{i,\,i+d}, \qquad d = -8 \ldots 8

    over the rows that see at least 8 keys and this one. Only these logits are computed, 17 a row.

    Reading: above 0.4 at one offset: a head that looks there. Compare with the uniform share ``1 / n_i``.
    Pitfall: offsets count tokens, not words; a causal head has no positive ones.

    Args:
        sight: The call.

    Returns:
        ``offset_mass`` in the order of ``OFFSETS``; NaN where no row sees that key, and everywhere in cross-attention.
    """
    call, rows = sight.event.call, sight.moments.rows
    found = torch.full((call.batch, call.heads, len(OFFSETS)), math.nan, dtype=torch.double, device=call.query.device)
    if call.offset is None:
        return {"offset_mass": found}
    sequence = torch.arange(call.batch, device=found.device).repeat_interleave(call.n_queries)
    query = torch.arange(call.n_queries, device=found.device).repeat(call.batch)
    judged = (rows.visible >= MIN_VISIBLE).flatten(2)
    wanted: list[tuple[int, Tensor, Tensor]] = []
    for column, offset in enumerate(OFFSETS):
        key = query + call.offset + offset
        inside = (key >= 0) & (key < call.n_keys)
        at = key.clamp(0, call.n_keys - 1)
        inside &= call.visibility.at(sequence, query, at, call.n_queries, call.n_keys)
        if bool(inside.any()):
            wanted.append((column, at, inside))
    together = max(1, POINTS // len(query))
    for some in (wanted[start : start + together] for start in range(0, len(wanted), together)):
        count = len(some)
        keys = torch.cat([at for _, at, _ in some])
        logits = logits_at(call, sequence.repeat(count), query.repeat(count), keys)
        logits = logits.view(call.heads, count, call.batch, -1)
        for place, (column, _, inside) in enumerate(some):
            weight = (logits[:, place].transpose(0, 1).double() - rows.logsumexp.double()).exp()
            counted = judged & inside.view(call.batch, 1, -1)
            found[..., column] = weight.masked_fill(~counted, math.nan).nanmean(-1)
    return {"offset_mass": found}


PROBES.add("offset_mass", offset_mass)
