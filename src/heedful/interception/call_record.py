"""Record of one attention module in a session.

Queue rows of short calls and compute their statistics together, which saves fixed costs.

The moments of a call's rows wait until the outermost forward ends, somebody reads, or they have become many. What is
worked out is the same to the last bit, since a statistic is one number a row and a mean is of one sequence's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.engines.moments import RowMoments
from heedful.interception.sequence_means import DecodedSequences, means_and_counts, needed, row_counts, statistics_of


def head_label(module: nn.Module, layer: int, head: int, call: int = 1) -> str:
    """Return a head's label: ``L0H0``, the model's own ``head_labels`` if any, and the call number of a shared module.

    Args:
        module: The attention module.
        layer: Index of the call in the order of first calls.
        head: Index of the head.
        call: Which call of the module in one forward it is, from 1.
    """
    labels = getattr(module, "head_labels", None)
    named = f" {labels[head]}" if labels is not None and head < len(labels) else ""
    return f"L{layer}H{head}{named}" + (f" call {call}" if call > 1 else "")


def call_number(path: str) -> int:
    """Return the number of a module's call within one forward, from 1, as given in its path."""
    return int(path.rpartition("#")[2]) if "#" in path else 1


@dataclass
class CallRecord:
    """Record of one attention module in a session.

    Attributes:
        path: Module path (``#2`` ... where the module runs again in one forward).
        module: The attention module.
        layer: Index of the module in the order of first calls.
        heads: Number of query heads.
        listed: The heads that are measured, by index: all, or those asked for.
        way: How its calls were met.
        values: Statistic to list of ``(batch, head)`` means over judged rows, one entry a call; calls that decode
            further rows of the same sequences are part of the entry that they continue.
        rows: Rows judged; ``short_rows`` saw fewer than 8 keys, ``empty_rows`` none.
        error: Largest relative difference between the module's own output and the recomputed one; NaN where a call
            showed no values.
        verified: Whether that error is within what rounding explains, for every call.
        broken: Heads of which a row that sees keys was not finite: their statistics are null.
    """

    path: str
    module: nn.Module
    layer: int
    heads: int
    listed: tuple[int, ...]
    way: str
    values: dict[str, list[Tensor]] = field(default_factory=dict)
    rows: int = 0
    short_rows: int = 0
    empty_rows: int = 0
    error: float = 0.0
    verified: bool = True
    broken: set[int] = field(default_factory=set)
    sequences: DecodedSequences = field(default_factory=DecodedSequences)


MOST_ROWS = 2**16
"""Rows that may wait: some 4 MB of moments."""


@dataclass(frozen=True)
class Waiting:
    """Queued rows of one call, its record, and whether it continues the previous sequences."""

    record: CallRecord
    rows: RowMoments
    continues: bool


@dataclass
class WaitingRows:
    """Queue of rows to be measured together.

    Attributes:
        fails: Called with a module path and what was raised where its rows could not be worked out.
    """

    fails: Callable[[str, Exception], None]
    _calls: list[Waiting] = field(default_factory=list)
    _count: int = 0

    def add(self, call: Waiting) -> None:
        """Add a call's rows to the queue."""
        self._calls.append(call)
        self._count += call.rows.visible.numel()
        if self._count > MOST_ROWS:
            self.settle()

    def settle(self) -> None:
        """Measure the queued rows and add them to their records, in order."""
        if not self._calls:
            return
        calls, self._calls, self._count = self._calls, [], 0
        alike: dict[tuple[Any, ...], list[Waiting]] = {}
        for call in calls:
            rows = call.rows
            kind = (rows.visible.shape, rows.n_keys, rows.has_sink, rows.entropy.dtype, rows.entropy.device)
            alike.setdefault(kind, []).append(call)
        found: dict[int, tuple[tuple[int, int, int, bool], Tensor, Tensor]] = {}
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for group in alike.values():
                try:
                    found.update(zip(map(id, group), _results([call.rows for call in group]), strict=True))
                except Exception as error:  # whatever it is, the user's own forward goes on
                    for call in group:
                        self.fails(call.record.path, error)
            for call in calls:
                if id(call) in found:
                    _keep(call, *found[id(call)])


def _keep(call: Waiting, counted: tuple[int, int, int, bool], means: Tensor, counts: Tensor) -> None:
    """Add one call's numbers to its record."""
    record, rows = call.record, call.rows
    judged, short, empty, broken = counted
    record.rows, record.short_rows = record.rows + judged, record.short_rows + short
    record.empty_rows += empty
    if broken:
        not_finite = (rows.entropy.isnan() & (rows.visible > 0)).any(dim=-1).any(dim=0)
        record.broken.update(record.listed[column] for column in not_finite.nonzero()[:, 0].tolist())
    record.sequences.add(record.values, means, counts, call.continues)


def _results(calls: Sequence[RowMoments]) -> list[tuple[tuple[int, int, int, bool], Tensor, Tensor]]:
    """Counts of rows, means and the rows behind them, for each of several calls of one form."""
    rows = _joined(calls)
    means, counts = means_and_counts(rows, statistics_of(rows))
    means, counts = means.to("cpu", torch.float64), counts.cpu()
    each = (part.chunk(len(calls), dim=1) for part in (means, counts))
    return list(zip(row_counts(rows, len(calls)), *each, strict=True))


def _joined(calls: Sequence[RowMoments]) -> RowMoments:
    """The rows of several calls as those of further sequences of one."""
    if len(calls) == 1:
        return calls[0]
    names = [name for name in needed() if isinstance(getattr(calls[0], name), Tensor)]
    together: dict[str, Any] = {name: torch.cat([getattr(rows, name) for rows in calls]) for name in names}
    return replace(calls[0], **together)
