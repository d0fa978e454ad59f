"""Measure one model on a set of sequences; results are arrays by layer, sequence and head.

Find rows whose logits overflow the model's dtype: heedful can compute them, but must not judge them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.points import sharing_logits
from heedful.attention.engines.tiled import tiled
from heedful.distributed.ranks import ALONE, Ranks
from heedful.distributed.sharded import whole_heads
from heedful.errors import CaptureError, HeedfulError, InputRejected
from heedful.evaluation.running import run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.held_heads import HeldHeads
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.interceptors.adapted import READING
from heedful.interception.uncompiled import without_heads
from heedful.loading.batch import Batch

Array = NDArray[np.float64]


@dataclass
class ProbedCall:
    """One attention call as a probe sees it: the call, its batch, and the module's own output.

    Attributes:
        event: The call.
        output: ``(batch, head, query, value_dim)`` of the module's kernel.
        batch: The batch that was running.
        extras: Moments wanted beyond the standing ones.
        overflow: Rows beyond the number format, None where none was looked for.
        kept: What one probe has computed and others may use, by name.
    """

    event: AttentionEvent
    output: Tensor
    batch: Batch
    extras: Extras
    overflow: Overflow | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def moments(self) -> Moments:
        """Row moments of the call (entropy and others), computed on first use."""
        return tiled(self.event.call, self.extras)

    def span(self) -> tuple[int, int]:
        """Return the first and last query position at which any sequence has a real token."""
        length = self.event.call.n_queries
        real = self.batch.attention_mask.bool().any(0).nonzero()[:, 0]
        if self.batch.attention_mask.shape[1] != length or not len(real):
            return 0, length - 1
        return int(real[0]), int(real[-1])

    def within_format(self) -> ProbedCall:
        """Return the call with rows set to undefined if their logits overflow the call's dtype.

        Only half precision, and output that is not finite, are looked at: other formats hold any logit of theirs.
        """
        call = self.event.call
        if call.query.dtype != torch.float16 and _is_finite(self.output):
            return self
        overflow = overflow_of(call, self.moments, self.output)
        if not bool(overflow.rows.any()):
            self.overflow = overflow
            return self
        event = replace(self.event, call=without_rows(call, overflow.rows))
        output = self.output.masked_fill(overflow.rows[..., None], torch.nan)
        return replace(self, event=event, output=output, overflow=overflow, kept={})


def _is_finite(values: Tensor) -> bool:
    """Whether every entry is; a finite sum says so, and large entries may give another."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


READ_ONLY = "its adapter gives no with_weights, a function from other weights to the module's output"
NO_PRODUCT = "its softmax was seen and no product with values"

Probe = Callable[[ProbedCall], dict[str, Tensor]]
"""From one call to arrays whose first axis is the sequence, the second (where there is one) the head."""


@dataclass
class LayerEvidence:
    """The measurements of one attention module.

    Attributes:
        path: Module path.
        module: The module.
        layer: Index in the order of first call.
        heads: Number of query heads.
        way: How it was met.
        values: Name to ``(sequence, ...)``, rows in the order of the study's sequences.
        fixed: Why its pattern cannot be replaced; empty where it can.
        part: Which of its heads this process holds, None where it holds all; ``heads`` and ``values`` are of all.
    """

    path: str
    module: nn.Module
    layer: int
    heads: int
    way: str
    values: dict[str, Array] = field(default_factory=dict)
    fixed: str = ""
    part: HeldHeads | None = None

    @property
    def module_path(self) -> str:
        """Path of the module, without the number of its call."""
        return self.path.split("#")[0]


@dataclass
class Evidence:
    """Measurements of all attention modules of a model on one set of sequences.

    Attributes:
        layers: In the order in which the model called them.
        not_captured: Path to reason of attention that was not met or not understood.
        notes: Subject to what being watched changes about it.
        folded: Path to reason of calls whose sequences are not the study's: not measured, and replaced with the rest.
    """

    layers: list[LayerEvidence]
    not_captured: dict[str, str]
    notes: dict[str, str] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)

    @property
    def module_paths(self) -> list[str]:
        """Paths of the attention modules, without duplicates."""
        return list(dict.fromkeys(layer.module_path for layer in self.layers))

    @cached_property
    def replaceable(self) -> list[LayerEvidence]:
        """Modules whose attention can be replaced, each listed by its first call; a replacement applies to every
        call.
        """
        fixed = {layer.module_path for layer in self.layers if layer.fixed}
        found = {layer.module_path: layer for layer in reversed(self.layers) if layer.module_path not in fixed}
        return [layer for layer in self.layers if found.get(layer.module_path) is layer]

    @property
    def reached(self) -> tuple[str, ...] | None:
        """Paths of the modules whose attention can be replaced; None if that is every module."""
        folded = (path.split("#")[0] for path in self.folded)
        paths = dict.fromkeys((*(layer.module_path for layer in self.replaceable), *folded))
        return tuple(paths) if self.irreplaceable else None

    @cached_property
    def irreplaceable(self) -> dict[str, str]:
        """Module path to the reason why its attention cannot be replaced, for example "not captured"."""
        fixed = {layer.module_path: layer.fixed for layer in self.layers if layer.fixed}
        reached = {layer.module_path for layer in self.layers} | set(self.folded)
        not_captured = {path: why for path, why in self.not_captured.items() if path not in reached}
        return fixed | not_captured

    def calls_of(self, layer: LayerEvidence) -> int:
        """Return how often the module of ``layer`` is called in one forward."""
        return sum(other.module_path == layer.module_path for other in self.layers)

    def stacked(self, name: str) -> Array:
        """Return the measurement ``name`` of all layers, concatenated along the head axis: ``(sequence, all heads)``.

        Returns:
            ``(sequence, all heads, ...)``.
        """
        return np.concatenate([layer.values[name] for layer in self.layers], axis=1)

    def has(self, name: str) -> bool:
        """Return whether every layer has a measurement of this name."""
        return bool(self.layers) and all(name in layer.values for layer in self.layers)


def collect(
    model: nn.Module,
    batches: Sequence[Batch],
    probes: Sequence[Probe],
    *,
    extras: Extras | None = None,
    groups: bool = False,
    tick: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
    run: Callable[[Batch], object] | None = None,
    pools: Callable[[AttentionEvent, Batch], Tensor | None] = lambda event, batch: None,
) -> Evidence:
    """Run a model over batches, apply every probe to every attention call, and return the measurements.

    Args:
        model: The model, in evaluation mode.
        batches: What to run.
        probes: What to measure of each call.
        extras: Moments wanted beyond the standing ones.
        groups: Whether special and punctuation masses are wanted among the moments.
        tick: Called after each batch.
        ranks: Processes that divide the batches; the evidence is whole on each of them.
        run: Runs the model on a batch; None runs it with all of its outputs.
        pools: Gives the pools of sequences whose weights are to be summed in a call, as in ``Extras``.

    Raises:
        CaptureError: The model made no attention call that heedful could meet.
    """
    layers: dict[str, LayerEvidence] = {}
    folded: dict[str, str] = {}
    parts: dict[str, list[tuple[Batch, dict[str, Tensor]]]] = {}
    current: list[Batch] = []

    wanted = extras or Extras()

    def answer(event: AttentionEvent) -> Tensor:
        output = event.run(None)
        batch = current[0].at(event.call.query.device)
        if event.call.batch != len(batch.input_ids):
            message = f"its batch of {event.call.batch} is not one of {len(batch.input_ids)} sequences"
            folded.setdefault(event.path, message)
            return output
        event = without_padded_rows(event, batch)
        same = event.call.n_keys == batch.input_ids.shape[1]
        marks = Groups(keys=torch.stack([batch.special, batch.punctuation], dim=-1)) if groups and same else None
        if event.path not in layers:
            layers[event.path] = _layer(event, len(layers))
        probed = ProbedCall(event, output, batch, replace(wanted, groups=marks, pools=pools(event, batch)))
        found: dict[str, Tensor] = {}
        with unwatched():
            probed = probed.within_format()
            with sharing_logits(probed.event.call):
                for probe in probes:
                    found |= probe(probed)
        parts.setdefault(event.path, []).append((batch, {name: v.double().cpu() for name, v in found.items()}))
        return output

    def whole(batch: Batch) -> object:
        return run_model(model, batch.input_ids, batch.attention_mask)

    with torch.no_grad(), intercept(model, answer) as way:
        for batch in ranks.run(batches) or batches[:1]:  # a rank without any learns the shapes of the others' arrays
            current[:] = [batch]
            (run or whole)(batch)
            tick()
        not_captured = way.not_captured()
        in_part = way.in_part()
        for path in [path for path in layers if path.split("#")[0] in in_part]:
            del layers[path], parts[path]  # no verdict rests on a part of a module's rows
    if not layers:
        raise _nothing_captured(model, not_captured)
    total = sum(len(batch.input_ids) for batch in batches)
    order = {int(i): row for row, i in enumerate(torch.cat([batch.index for batch in batches]).tolist())}
    for path, layer in layers.items():
        layer.values = _joined(parts[path], order, total)
    _merge(list(layers.values()), ranks, batches)
    return Evidence(list(layers.values()), not_captured | folded, way.notes, folded)


def _nothing_captured(model: nn.Module, not_captured: Mapping[str, str]) -> HeedfulError:
    """Why there is no evidence."""
    if message := without_heads(model):
        return InputRejected(type(model).__name__, message, "name a model that attends")
    return CaptureError(
        type(model).__name__,
        "no attention call was captured" + (f": {next(iter(not_captured.values()))}" if not_captured else ""),
        "its attention must go through transformers' attention table, scaled_dot_product_attention, "
        "nn.MultiheadAttention or a softmax of its logits",
    )


def _layer(event: AttentionEvent, index: int) -> LayerEvidence:
    fixed = NO_PRODUCT if event.call.value is None else READ_ONLY if event.way == READING else ""
    heads = event.call.heads * (1 if event.part is None else event.part.count)
    return LayerEvidence(event.path, event.module, index, heads, event.way, fixed=fixed, part=event.part)


def without_padded_rows(event: AttentionEvent, batch: Batch) -> AttentionEvent:
    """Return the call with padded queries masked out, even if the model got no padding mask."""
    call = event.call
    real = batch.attention_mask.bool()
    if call.visibility.queries is not None or call.n_queries != real.shape[1] or bool(real.all()):
        return event
    return replace(event, call=replace(call, visibility=replace(call.visibility, queries=real)))


def _merge(layers: list[LayerEvidence], ranks: Ranks, batches: Sequence[Batch]) -> None:
    """Every layer's arrays made whole over the ranks, all of them in one sum."""
    if ranks.divide == "tensor":
        found = whole_heads([(layer.part, layer.values) for layer in layers], ranks, len(ranks.run_rows(batches)))
        for layer, whole in zip(layers, found, strict=True):
            layer.values = whole
        return
    places = [(layer, name) for layer in layers for name in sorted(layer.values)]
    merged = ranks.merged([layer.values[name] for layer, name in places], ranks.own_rows(batches))
    for (layer, name), values in zip(places, merged, strict=True):
        layer.values[name] = values


def _joined(pieces: list[tuple[Batch, dict[str, Tensor]]], order: dict[int, int], total: int) -> dict[str, Array]:
    joined: dict[str, Array] = {}
    for batch, found in pieces:
        rows = [order[int(i)] for i in batch.index.tolist()]
        for name, tensor in found.items():
            values = tensor.numpy()
            if name not in joined:
                joined[name] = np.full((total, *values.shape[1:]), np.nan)
            joined[name][rows] = values
    return joined


@dataclass(frozen=True)
class Overflow:
    """Bool masks ``(batch, head, query)`` of the rows of a call that overflow its dtype.

    heedful computes in float32 or better. Its rows would describe weights that the model does not have where

    Attributes:
        rows: the largest logit is beyond the format, or the module's own output is not finite while the recomputed one
            is: no kernel that keeps logits in this format has such a row.
        products: products of query and key are beyond the format before they are scaled: a kernel that holds them in
            this format (eager attention) has no such row, a fused one may.
    """

    rows: Tensor
    products: Tensor


def overflow_of(call: AttentionCall, moments: Moments, output: Tensor) -> Overflow:
    """Find the rows of a call whose logits overflow its dtype or whose kernel output is not finite.

    Args:
        call: The call.
        moments: Its moments.
        output: ``(batch, head, query, value_dim)`` of the module's kernel.

    Returns:
        The rows concerned; rows that see no key, or are not finite in float32 either, are none of them.
    """
    rows, limit = moments.rows, torch.finfo(call.query.dtype).max
    sound = (rows.visible > 0) & torch.isfinite(rows.logsumexp) & torch.isfinite(rows.entropy)
    largest = (rows.logsumexp + rows.max_weight.log()).abs()
    beyond = largest > limit
    if moments.output is not None:
        beyond |= torch.isfinite(moments.output).all(-1) & ~torch.isfinite(output).all(-1)
    plain = call.bias is None and call.softcap is None and call.scale != 0.0
    products = largest / abs(call.scale) > limit if plain else torch.zeros_like(beyond)
    return Overflow(beyond & sound, products & sound)


def without_rows(call: AttentionCall, rows: Tensor) -> AttentionCall:
    """Return the call with the queries of ``rows`` set to NaN, which makes all results of those rows undefined.

    Args:
        call: The call.
        rows: ``(batch, head, query)`` bool.
    """
    return replace(call, query=call.query.masked_fill(rows[..., None], torch.nan))
