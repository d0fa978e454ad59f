"""Record statistics of every attention call while a model runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.engines.measure import ENGINES
from heedful.attention.engines.moments import Extras, Moments
from heedful.errors import CallError, CaptureError, UsageError
from heedful.interception.adapter import Adapter, reading_with
from heedful.interception.agreement import limit_of, output_error
from heedful.interception.call_record import CallRecord, Waiting, WaitingRows, call_number, head_label
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, refuse_no_module, unwatched
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.kept_calls import KeptCalls
from heedful.interception.pair_ranking import PairRanking, rank_kept
from heedful.interception.selection import Heads, Layers, Selection, only_heads
from heedful.interception.sequence_means import after_forgetting, needed
from heedful.interception.uncompiled import depth
from heedful.showing import drawing

if TYPE_CHECKING:
    import altair
    import polars


class Session:
    """Attention statistics recorded inside ``with heedful.capture(model) as session``.

    Attributes:
        model: The model.
        records: Path to what was gathered of one attention module; ``#2`` ... where it runs again in one forward.
            What calls of a running forward gave is added when it ends, or when this is read.
        order: Module path to layer index, in the order of first calls.
        not_captured: Path to reason of modules whose attention was not met, or not all of it.
        in_part: Those of them of which something was met.
        notes: Subject to what a reader should know: what being watched changes, and why statistics are null.
    """

    def __init__(self, model: nn.Module, engine: str, selection: Selection | None = None) -> None:
        self.model = model
        self.engine = engine
        self.selection = selection or Selection()
        self._records: dict[str, CallRecord] = {}
        self._waiting = WaitingRows(self._fails)
        self.order: dict[str, int] = {}
        self.not_captured: dict[str, str] = {}
        self.in_part: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.forwards = 0
        self.kept = KeptCalls()
        self._depth = depth()
        self._extras = Extras()
        self._forwards: dict[int, int] = {}
        self._decoding: set[int] = set()

    def _meet(self, event: AttentionEvent, forward: int) -> Tensor | None:
        if depth() != self._depth:
            return None  # a forward that heedful makes to judge the model; the user never asked for it
        forward = self._forwards.setdefault(forward, len(self._forwards) + 1)
        layer = self.order.setdefault(event.path.split("#")[0], len(self.order))
        if not self.selection.takes_forward(forward) or not self.selection.takes_layer(event.path, layer):
            return None
        own = event.run(None)
        try:
            self._measure(event, own, layer, forward)
        except (UsageError, CallError):
            raise
        except Exception as error:  # whatever it is, the user's own forward goes on
            self._fails(event.path, error)
        return own

    def _fails(self, path: str, error: Exception) -> None:
        message = " ".join(str(error).split())[:200]
        self.failed.setdefault(path, f"it could not be measured: {type(error).__name__}: {message}")

    @property
    def records(self) -> dict[str, CallRecord]:
        """Record of each attention module, by module path."""
        self._waiting.settle()
        return self._records

    def _measure(self, event: AttentionEvent, own: Tensor, layer: int, forward: int) -> None:
        output = own
        if event.part is not None:  # every process shows the heads of all, in their order
            with torch.no_grad(), unwatched():
                output, event = event.part.gathered(own), replace(event, call=event.part.whole(event.call))
        listed = self.selection.heads_of(event.path, layer, event.call)
        record = self._records.get(event.path)
        if record is None:
            record = CallRecord(event.path, event.module, layer, event.call.heads, listed, event.way)
        if event.call.heads != record.heads:
            self.failed.setdefault(event.path, f"its calls have {record.heads} heads and {event.call.heads}")
            return
        with torch.no_grad(), unwatched():
            call = only_heads(event.call, listed)
            event = event if call is event.call else replace(event, call=call)
            self.kept.offer(record.path, layer, listed, call)
            moments = ENGINES[self.engine](call, self._wanted(needed()))
            self._add(
                record, event, forward, moments, output if len(listed) == record.heads else output[:, list(listed)]
            )
        self._records[event.path] = record

    def _wanted(self, only: frozenset[str]) -> Extras:
        """What the engine is asked for: what the statistics need that are registered by now."""
        if only != self._extras.only:
            self._extras = Extras(only=only)
        return self._extras

    def _add(self, record: CallRecord, event: AttentionEvent, forward: int, moments: Moments, output: Tensor) -> None:
        rows = moments.rows
        sequences, decoding = record.sequences, forward in self._decoding
        another = sequences.invocation == event.invocation and event.call.n_queries < event.call.n_keys
        continues = sequences.continued_by(
            event.call, forward, invocation=event.invocation, decoding=decoding, follows=event.follows
        )
        if continues and event.call.offset is not None:
            self._decoding.add(forward)
        if another and not continues:
            self.failed.setdefault(event.path, "rows of its sequences come in several calls that do not fit together")
        rows = after_forgetting(rows, record.sequences.forgotten, record.sequences.first)
        self._waiting.add(Waiting(record, rows, continues))
        error = output_error(moments, output)
        record.error = math.nan if math.isnan(record.error + error) else max(record.error, error)
        if (event.dropout and record.module.training) or not error <= limit_of(event, moments, output):
            record.verified = False

    def heads(self) -> polars.DataFrame:
        """Return a dataframe with one row per head: mean of every statistic over sequences.

        Returns:
            Columns ``layer, module, head, label, sequences, verified`` and every registered statistic; a statistic is
            null where no row could be judged, and in heads of which a row was not finite.

        Raises:
            CaptureError: No attention call was met.
        """
        import polars

        records = self.records
        if not any(record.values for record in records.values()):
            raise self._nothing_captured()
        rows = []
        for record in records.values():
            if not record.values:
                continue
            stacked = {name: torch.cat(parts).nanmean(dim=0).tolist() for name, parts in record.values.items()}
            sequences = sum(len(part) for part in next(iter(record.values.values())))
            for column, head in enumerate(record.listed):
                rows.append(
                    {
                        "layer": record.layer,
                        "module": record.path,
                        "head": head,
                        "label": head_label(record.module, record.layer, head, call_number(record.path)),
                        "sequences": sequences,
                        "verified": record.verified,
                        **{
                            name: None if math.isnan(means[column]) or head in record.broken else means[column]
                            for name, means in stacked.items()
                        },
                    }
                )
        return polars.DataFrame(rows, infer_schema_length=None)

    def _nothing_captured(self) -> CaptureError:
        """Why there are no heads to show."""
        name = type(self.model).__name__
        reasons = [f"{path or name}: {why}" for path, why in self.not_captured.items()] + list(self.notes.values())
        message = "the model ran, and no attention in it" if self.forwards else "the model did not run inside the block"
        if reasons:
            message = reasons[0] + (
                f"; and {len(reasons) - 1} more in session.not_captured" if len(reasons) > 1 else ""
            )
        return CaptureError(
            name,
            f"no attention call was captured: {message}",
            ("" if self.forwards else "run the model inside the `with` block; ")
            + "attention is captured in transformers' attention table, scaled_dot_product_attention, "
            "nn.MultiheadAttention, and in a softmax of logits over tokens with its product with values",
        )

    def _finish(self, way: Interceptor) -> None:
        """Take over what the interception knows once the block has ended."""
        self.forwards = way.stack.forwards
        records = self.records
        way.not_understood.update(self.failed)
        self.in_part = way.in_part()
        self.not_captured = way.not_captured()
        self.notes = dict(way.notes)
        for path, record in records.items():
            if path.split("#")[0] in self.in_part or path in self.failed:
                record.verified = False
            if not record.rows and record.short_rows:
                self.notes[path] = (
                    f"its rows see fewer than {MIN_VISIBLE} keys: statistics, which are of rows that see more, are null"
                )

    def pattern(self, layer: int | str, head: int, *, bins: int = 256) -> altair.Chart:
        """Draw the attention weights of one head on the first sequence of its layer.

        Exact: with no more positions than bins every cell is one weight, with more it is the mean weight of the visible
        pairs in it. The chart displays itself in a notebook; ``chart.save("head.svg")`` writes it (png, html, json).

        Args:
            layer: Layer index, in the order in which the model called its attention, or module path.
            head: Head index.
            bins: Most cells of each axis, at most 256.

        Returns:
            An Altair chart.

        Raises:
            CaptureError: No attention call was met.
            UsageError: There is no such layer or head, or its layer was too large to be kept beside the others.
        """
        return drawing("head_pattern")(self, layer, head, bins)

    def weights(self, layer: int | str, head: int) -> Tensor:
        """Return the exact attention weights of one head on the first sequence of its layer.

        The rows are computed block by block from the queries and keys that the session kept. Pitfall: the array grows
        with the square of the length; ``pattern`` draws any length, and ``heads`` needs no array at all.

        Args:
            layer: Layer index, in the order in which the model called its attention, or module path.
            head: Head index.

        Returns:
            ``(query, key)``, float32 or better, on the device of the model. A row sums to 1, less the share of a
            learned sink; a row that sees no key is 0.

        Raises:
            CaptureError: No attention call was met.
            UsageError: There is no such layer or head, or its layer was too large to be kept beside the others.
            ResourceLimit: The array would take more than 256 MiB; nothing was allocated.
        """
        return self.kept.weights(layer, head)

    def rank_heads(self, pairs: Any, *, seed: int = 0) -> PairRanking:
        """Rank heads by their mean weight on given position pairs, compared with permuted pairs.

        The pairs are what you know of the text: words that are aligned, heads of phrases, bonds between atoms. Their
        weights alone are computed, from the queries and keys that the session kept of the first sequence.

        Args:
            pairs: ``[[query, key], ...]``, positions from 0 in the first sequence.
            seed: Seed of the permutations.

        Returns:
            The heads, the heaviest first: ``mass``, its mean over permuted pairs, and p, alone and adjusted for all
            heads.

        Raises:
            CaptureError: No attention call was met.
            InputRejected: A pair lies outside of the sequence, or no query of the model can see it.
            UsageError: A layer was too large to be kept beside the others.

        Pitfall: permuted pairs keep the queries and the keys, not their distances: a head that looks nearby beats them
        on pairs of neighbours. Causal pairs of neighbours allow few exchanges; ``others`` counts them.

        Example:
            >>> import heedful, torch
            >>> model = heedful.load_model().model
            >>> with heedful.capture(model) as session:
            ...     _ = model(torch.arange(5, 25)[None])
            >>> len(session.rank_heads([[9, 3], [12, 7], [15, 2]]))
            24
        """
        return rank_kept(self.kept, pairs, seed)

    def _repr_html_(self) -> str:
        """What was met, and the first heads, as a notebook shows it."""
        return str(drawing("session_html")(self))


@contextmanager
def capture(
    model: nn.Module,
    *,
    engine: str = "auto",
    layers: Layers | None = None,
    heads: Heads | None = None,
    every: int = 1,
    adapter: Adapter | None = None,
) -> Iterator[Session]:
    """Return a context that records exact statistics of every attention call of a model.

    The model is unchanged: same outputs, hooks and table entries gone afterwards, flags and random state as before.

    Args:
        model: A transformers model, or any module that calls ``scaled_dot_product_attention`` or
            ``nn.MultiheadAttention``, or writes its attention out with a softmax.
        engine: ``auto``, ``tiled`` or ``dense``.
        layers: Layers to measure, by index in the order in which the model first calls them, or by module path; one or
            several.
        heads: Query heads to measure and list, by index; one or several, or ``{layer: [heads]}``.
        every: Measure the first forward of the model inside the block and every so many after it.
        adapter: Reads attention from what modules return (``heedful.interception.adapter``); None where they compute it
            in one of the ways above.

    Yields:
        The session, which can be read after the block as well.

    Raises:
        UsageError: The model is no module, the engine is unknown, another thread is capturing this model, or a layer or
            head does not exist (a layer only once the block has ended without error).

    Example:
        >>> import heedful, torch
        >>> model = heedful.load_model().model
        >>> with heedful.capture(model, layers=0) as session:
        ...     _ = model(torch.arange(5, 13)[None])
        >>> session.heads().height
        6
        >>> session.weights(0, 0).shape
        torch.Size([8, 8])
    """
    if engine != "auto" and engine not in ENGINES:
        raise UsageError(f"engine: expected one of auto, {', '.join(ENGINES)}; got {engine!r}")
    refuse_no_module("capture", model)
    selection = Selection(layers=layers, heads=heads, every=every)
    session = Session(model, "tiled" if engine == "auto" else engine, selection)
    watched = intercept(model, lambda event: session._meet(event, way.stack.forwards))
    with reading_with(adapter), watched as way:
        way.stack.ended = session._waiting.settle
        try:
            yield session
        finally:
            session._finish(way)
    selection.check_layers(session.order)
