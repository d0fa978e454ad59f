"""Compute the mean attention pattern of a fixed pool of documents, which depends on position only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from heedful.attention.engines.blocks import plan as parts_of
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.one_block import fits_one_block
from heedful.attention.engines.patterns import ROWS, weighted_output
from heedful.attention.engines.points import block_at
from heedful.attention.engines.tiled import tiled
from heedful.errors import ResourceLimit
from heedful.evaluation.batches import batch_of
from heedful.evaluation.evidence import without_padded_rows
from heedful.evaluation.running import device_of, run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.replace import EventPattern
from heedful.loading.batch import Batch
from heedful.loading.memory import ensure_fits

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

POOL = 16
"""Documents of each of the two pools."""


@dataclass
class PatternPool:
    """Attention weights of every call, summed over two pools of documents; each sequence takes the pool that does not
    contain its own document.

    A sequence is given the mean of a pool that its own document is not in: the first pool, or the second for documents
    of the first. Both are the same whatever the batch, its size and the length.

    Attributes:
        second: ``(sequence,)`` bool, whether a sequence takes the second pool.
        sums: Path of a call to ``(pool, head, query, key)``; empty where the patterns did not fit.
        documents: Documents in each pool.
        reason: Why there are no sums; empty otherwise.
        measured: Which pools have sums.
    """

    second: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict)
    documents: tuple[int, int] = (0, 0)
    reason: str = ""
    measured: tuple[int, ...] = (0, 1)

    @property
    def description(self) -> str:
        """Text that names the documents whose patterns are averaged."""
        if self.reason:
            return f"the mean pattern of the other sequences of a batch ({self.reason})"
        return f"the mean pattern of {self.documents[0]} other documents, always the same"


class PooledMean(EventPattern):
    """Replace the learned attention pattern by the mean pattern of a pool of other documents.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: PatternPool) -> None:
        self.pool = pool
        self.batch: Batch | None = None

    def of(self, batch: Batch) -> None:
        """Set the batch of the next forward."""
        self.batch = batch

    def output(self, event: AttentionEvent) -> Tensor | None:
        """Return the attention output with the pool's mean pattern; None if the call is unknown or shapes differ."""
        sums, batch, call = self.pool.sums.get(event.path), self.batch, event.call
        if sums is None or batch is None or sums.shape[1:] != (call.heads, call.n_queries, call.n_keys):
            return None
        if call.batch != len(batch.index):
            return None
        chosen = self.pool.second[batch.index].to(sums.device, torch.int64)
        if not set(chosen.tolist()) <= set(self.pool.measured):
            raise ValueError("pattern pool: a sequence needs the pool that was not measured")

        def weights(begin: int, end: int, seen: Tensor) -> Tensor:
            both = sums[:, :, begin:end].to(seen.device, torch.float32)
            return both[chosen.to(seen.device)] * seen

        return weighted_output(call, weights)


@dataclass
class PoolPlan:
    """The sequences chosen for each of two pools, and the ``PatternPool`` in which their attention weights are summed.

    Attributes:
        pool: The pools.
        rows: Sequences of the first and of the second.
    """

    pool: PatternPool
    rows: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))

    def room(self, event: AttentionEvent) -> Tensor:
        """Return the sums of a call, ``(pool, head, query, key)`` float32; they are created when the call is first
        seen.

        Raises:
            ResourceLimit: They would not fit in memory.
        """
        call, sums = event.call, self.pool.sums
        if event.path not in sums:
            shape = (2, call.heads, call.n_queries, call.n_keys)
            ensure_fits(8 * call.heads * call.n_queries * call.n_keys, "mean patterns", hint="lower --seq-len")
            sums[event.path] = torch.zeros(shape, dtype=torch.float32, device=call.query.device)
        return sums[event.path]

    def add(self, event: AttentionEvent, place: int, wanted: Tensor | None = None) -> None:
        """Add the attention weights of a call's sequences to the sums of one pool.

        Args:
            event: The call, padded rows left out.
            place: 0 for the first pool, 1 for the second.
            wanted: ``(sequence,)`` bool, which sequences of the call are of the pool; None for all.

        Raises:
            ResourceLimit: The sums would not fit in memory.
        """
        call, own = event.call, self.room(event)
        if fits_one_block(call, list(parts_of(call))):  # as in the pass that measures, to the last bit
            pools = torch.zeros(2, call.batch)
            pools[place] = 1.0 if wanted is None else wanted.float()
            pooled = tiled(replace(call, value=None), Extras(only=frozenset(), pools=pools)).pooled
            if pooled is not None:
                own[place] += pooled[place]
            return
        every = wanted is None or bool(wanted.all())
        for begin in range(0, call.n_queries, ROWS):
            end = min(begin + ROWS, call.n_queries)
            weights = block_at(call, begin, end).nan_to_num()
            weights = weights if every or wanted is None else weights[wanted.to(weights.device)]
            own[place, :, begin:end] += weights.sum(0).to(own)


def pool_plan(sequences: TokenBatch, rows: Sequence[int] | None = None) -> PoolPlan:
    """Choose the sequences for two pools of different documents, whose attention patterns will be averaged.

    Args:
        sequences: The study's; the first one of each document is taken, 16 documents a pool, or half of them where
            there are fewer than 32.
        rows: Sequences whose pattern will be replaced: only pools that they need are measured; None measures both.
    """
    document = sequences.document.tolist()
    firsts = list({label: row for row, label in reversed(list(enumerate(document)))}.items())
    firsts.sort(key=lambda pair: pair[1])
    size = min(POOL, len(firsts) // 2)
    labels = {label for label, _ in firsts[:size]}
    second = torch.tensor([label in labels for label in document])
    if size < 1:
        return PoolPlan(PatternPool(second, reason="too few documents for a pool of others"))
    needed = (0, 1) if rows is None else tuple(sorted({int(second[row]) for row in rows}))
    pool = PatternPool(second, documents=(size, size), measured=needed)
    return PoolPlan(pool, ([row for _, row in firsts[:size]], [row for _, row in firsts[size : 2 * size]]))


def pattern_pool(
    model: nn.Module,
    sequences: TokenBatch,
    tokens: int,
    run: Callable[[Batch], object] | None = None,
    rows: Sequence[int] | None = None,
) -> PatternPool:
    """Run the pools' documents through the unchanged model and sum their attention weights.

    Args:
        model: The model, in evaluation mode.
        sequences: The study's; the first one of each document is taken, 16 documents a pool, or half of them where
            there are fewer than 32.
        tokens: Tokens that go through the model at once.
        run: Runs the model on a batch; None runs it with all of its outputs.
        rows: Sequences whose pattern will be replaced: only pools that they need are measured; None measures both.

    Returns:
        The pools; without sums where they would not fit in memory.
    """
    plan = pool_plan(sequences, rows)
    current: list[Batch] = []
    place = 0

    def whole(batch: Batch) -> object:
        return run_model(model, batch.input_ids, batch.attention_mask)

    def visit(event: AttentionEvent) -> None:
        if event.call.batch != len(current[0].index):
            return
        with unwatched():
            plan.add(without_padded_rows(event, current[0].at(event.call.query.device)), place)

    size = max(1, tokens // max(1, sequences.input_ids.shape[1]))
    try:
        for place in () if plan.pool.reason else plan.pool.measured:
            with torch.no_grad(), intercept(model, visit):
                for start in range(0, len(plan.rows[place]), size):
                    index = torch.tensor(plan.rows[place][start : start + size])
                    current[:] = [batch_of(sequences, index, device_of(model))]
                    (run or whole)(current[0])
    except ResourceLimit as error:
        return PatternPool(plan.pool.second, reason=f"a fixed pool does not fit: {error}")
    return plan.pool
