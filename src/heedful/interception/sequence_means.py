"""Average row statistics over sequences, which may arrive in one call or token by token during decoding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import STATISTICS


def sequence_means(moments: RowMoments, rows: Tensor) -> Tensor:
    """Average one row statistic over each sequence's rows, ``(batch, head)``; rows that see fewer than ``MIN_VISIBLE``
    keys are left out.

    Args:
        moments: The call's row moments.
        rows: ``(batch, head, query)`` of the statistic.

    Returns:
        ``(batch, head)``; NaN where no row sees at least ``MIN_VISIBLE`` keys.
    """
    judged = rows.masked_fill(moments.visible < MIN_VISIBLE, math.nan)
    return judged.nanmean(dim=-1)


def needed() -> frozenset[str]:
    """Return the names of the ``RowMoments`` fields (per-row results of the kernel) that statistics and row counts
    need.
    """
    return frozenset(("visible", "entropy")).union(*[facts.needs for facts in STATISTICS.values()])


def statistics_of(moments: RowMoments) -> Tensor:
    """Return all registered statistics of a call's rows, ``(statistic, batch, head, query)``, in registry order."""
    return torch.stack([facts.of(moments) for facts in STATISTICS.values()])


def means_and_counts(moments: RowMoments, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each statistic over a sequence's rows, and how many rows were averaged, ``(..., batch, head)``
    each.

    Args:
        moments: The call's row moments.
        rows: ``(..., batch, head, query)`` of the statistics.

    Returns:
        ``(..., batch, head)`` means, NaN where the count is 0, and counts.
    """
    left_out = rows.isnan().logical_or_(moments.visible < MIN_VISIBLE)
    counts = rows.shape[-1] - left_out.sum(-1)
    return rows.masked_fill(left_out, 0.0).sum(-1).div_(counts), counts


def row_counts(moments: RowMoments, calls: int = 1) -> list[tuple[int, int, int, bool]]:
    """Return how many rows of each call see enough keys, fewer, and none, and whether any row with keys is not finite.

    Args:
        moments: Row moments of one call, or of several of as many sequences, one after the other.
        calls: How many.

    Returns:
        Those four for each call.
    """
    visible = moments.visible
    counted = torch.stack([visible >= MIN_VISIBLE, visible > 0, moments.entropy.isnan()])
    each, size = counted.view(3, calls, -1).sum(dim=-1).T.tolist(), visible.numel() // calls
    return [(judged, seeing - judged, size - seeing, nan != size - seeing) for judged, seeing, nan in each]


def after_forgetting(rows: RowMoments, keys: int, first: Tensor | None) -> RowMoments:
    """Correct row statistics after a cache dropped its first keys: positions count from the start, and a dropped key
    has no weight.

    Args:
        rows: The call's row moments.
        keys: How many keys were dropped.
        first: ``(batch,)`` position of each sequence's first key, which has no weight once it was dropped; padding may
            come before it. None: 0.
    """
    if not keys:
        return rows
    here = 0.0 if first is None else (first >= keys)[:, None, None].to(rows.first_mass.device)
    return replace(rows, first_mass=rows.first_mass * here, mean_position=rows.mean_position + keys)


@dataclass
class DecodedSequences:
    """Tracks which calls continue earlier sequences of a module, and how many rows each mean covers.

    A call continues them where its first query stands right after the last one of the call before, in the same number
    of sequences: decoding, or a prompt in parts. Cross-attention has no positions: it continues beside self-attention
    that does, over as many keys, and in one run of its module, where queries come in parts. A cache that keeps a window
    forgets positions; there, single rows over no more keys than before, in the very next forward, continue. Beam search
    may exchange sequences between two calls; the means over all sequences stay what they are.

    Attributes:
        forgotten: Keys that the cache has dropped before the first one of the last call.
        invocation: Number of the run of the module that made the last call; -1 where it is not known.
        first: ``(batch,)`` position of the first key of each sequence; None where it is 0.
    """

    forgotten: int = 0
    invocation: int = -1
    first: Tensor | None = None

    _batch: int = 0
    _end: int = 0
    _keys: int = 0
    _forward: int = 0
    _marks: tuple[float, float] | None = None
    _counts: Tensor | None = None

    def continued_by(
        self,
        call: AttentionCall,
        forward: int,
        *,
        invocation: int = -1,
        decoding: bool = False,
        follows: bool = False,
    ) -> bool:
        """Return whether this call continues the previous one, and store it as the previous call.

        Args:
            call: The call.
            forward: Number of the forward that makes it.
            invocation: Number of the run of its module; -1 where it is not known.
            follows: Whether its keys are those of the last call with more behind them.
            decoding: Whether self-attention in this forward continues sequences.
        """
        offset = call.offset
        continues = False
        if offset is None and call.batch == self._batch and call.n_keys == self._keys:
            parts = invocation == self.invocation >= 0 and call.n_queries < call.n_keys
            following = forward == self._forward + 1 and (decoding or self._same_keys(call))
            continues = parts or following
        if offset is None and call.n_queries < call.n_keys:
            self._marks = _marks(call)
        if offset is not None and offset > 0 and call.batch == self._batch:
            windowed = call.n_queries == 1 and call.n_keys <= self._keys and forward == self._forward + 1
            continues = (
                offset == self._end
                or (follows and offset < self._end)
                or (windowed and offset == call.n_keys - 1 < self._end)
            )
        start = self._end if continues else (offset or 0)
        self.forgotten = start - offset if offset is not None else 0
        self._batch, self._end, self._keys, self._forward = call.batch, start + call.n_queries, call.n_keys, forward
        self.invocation = invocation
        if not continues:
            rules = call.visibility
            bare = rules.mask is None and rules.keys is None
            self.first = None if bare else rules.first_key(call.batch, call.n_queries, call.n_keys, call.query.device)
        return continues

    def _same_keys(self, call: AttentionCall) -> bool:
        """Whether one query a sequence came, another than before, for the very keys of the last call."""
        if call.n_queries > 1 or self._marks is None:
            return False
        keys, queries = _marks(call)
        return keys == self._marks[0] and queries != self._marks[1]

    def add(self, entries: dict[str, list[Tensor]], means: Tensor, counts: Tensor, continues: bool) -> None:
        """Append the means of a call's rows, or merge them into the last entry if the call continues its sequences.

        Args:
            entries: Statistic to ``(batch, head)`` means so far; the last one is replaced where the call continues it.
            means: ``(statistic, batch, head)`` means over the call's rows, in the registry's order.
            counts: How many rows stand behind each.
            continues: Whether these rows are further rows of the last entry's sequences.
        """
        continues = continues and self._counts is not None and bool(entries)
        if continues and self._counts is not None:
            before, counts = self._counts, self._counts + counts
            last = torch.stack([entries[name][-1] for name in STATISTICS])
            means = (last.nan_to_num() * before + means.nan_to_num() * (counts - before)) / counts
        self._counts = counts
        for name, mean in zip(STATISTICS, means.unbind(), strict=True):
            if continues:
                entries[name][-1] = mean
            else:
                entries.setdefault(name, []).append(mean)


def _marks(call: AttentionCall) -> tuple[float, float]:
    """Sums by which keys and queries are known again; attention written out has them in its logits and values."""
    keys = call.key if call.bias is None or call.value is None else call.value
    queries = call.query if call.bias is None else call.bias
    return float(keys.double().sum()), float(queries.double().sum())
