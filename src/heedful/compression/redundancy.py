"""Measure each layer's keys before removal: redundancy, and the contribution of each dimension.

Access the keys of a running model as a cache stores them, and run the model with changed keys.

Estimate the rotary-position rotation from keys before and after it was applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.compression.loss_context import EvaluationContext
from heedful.errors import CaptureError
from heedful.evaluation.evidence import NO_PRODUCT, Array, without_padded_rows
from heedful.evaluation.running import run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.unrotated import NOT_ROTATED, Unrotated
from heedful.loading.batch import Batch
from heedful.monitoring.vectors.vector_statistics import centred
from heedful.monitoring.vectors.vectors import Vectors

NORMS = (("q_norm", "k_norm"), ("query_layernorm", "key_layernorm"), ("q_layernorm", "k_layernorm"))
"""Names of norms whose gains multiply queries and keys."""


@dataclass
class LayerKeys:
    """Measurements of one attention module's keys.

    Attributes:
        module: Module path.
        heads: Query heads.
        key_heads: Key heads.
        dim: Components of a key.
        effective_rank: ``(sequence, key_head)`` participation ratio of the covariance of the sequence's keys.
        centred_cosine: ``(sequence, key_head)`` mean cosine of two keys about their mean.
        contribution: ``(key_head, dim)`` mean square of the queries' component times the variance of the keys'.
        variance: ``(key_head, dim)`` variance of the keys' component.
        gain: ``(dim,)`` product of the gains of both norms; None where there are none.
        groups: ``(group, component)`` components that go together: pairs that rotate, or single ones.
        reason: Why dimensions cannot be left out; empty where they can.
    """

    module: str
    heads: int
    key_heads: int
    dim: int
    effective_rank: Array
    centred_cosine: Array
    contribution: Tensor
    variance: Tensor
    gain: Tensor | None = None
    groups: list[list[int]] = field(default_factory=list)
    reason: str = ""


def layer_keys(context: EvaluationContext, batches: Sequence[Batch]) -> tuple[list[LayerKeys], dict[str, str]]:
    """Measure the keys of every layer on some batches.

    Args:
        context: The model.
        batches: What to run.

    Returns:
        The layers in the order of their first calls, and what was left: path to reason.

    Raises:
        CaptureError: No attention of the model could be met.
    """
    found: dict[str, LayerKeys] = {}
    parts: dict[str, list[tuple[Array, Array]]] = {}
    now: list[Batch] = [batches[0]]

    def visit(stored: Stored) -> None:
        if "#" in stored.path:
            return
        rank, cosine, square, variance = _measured(stored)
        parts.setdefault(stored.path, []).append((rank.cpu().numpy(), cosine.cpu().numpy()))
        call, weight = stored.call, len(rank) / sum(len(batch.index) for batch in batches)
        added = (square * variance).mean(0).cpu() * weight, variance.mean(0).cpu() * weight
        if stored.path not in found:
            empty, shape = np.empty(0), (call.heads, call.kv_heads, call.key.shape[-1])
            gain = _gain(stored.layer, shape[2])
            found[stored.path] = LayerKeys(stored.path, *shape, empty, empty, *added, gain)
        else:
            one = found[stored.path]
            one.contribution, one.variance = one.contribution + added[0], one.variance + added[1]

    with stored_keys(context.model, now, "after", visit) as left:
        run_all(context.model, batches, now, context.ticker(len(batches), "keys of each head"))
    for path, layer in found.items():
        layer.effective_rank, layer.centred_cosine = (np.concatenate(each) for each in zip(*parts[path], strict=True))
    _find_groups(context, found, batches[0])
    return list(found.values()), left.reasons


def _measured(stored: Stored) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Effective rank and centred cosine ``(batch, key_head)``; mean square of queries and variance of keys
    ``(batch, key_head, dim)``.
    """
    call = stored.call
    keys, queries = _wide(stored.key, stored.real), _wide(call.query, _real_queries(stored))
    about = centred(keys)
    moments = about.transpose(-1, -2) @ about
    trace, square = moments.diagonal(dim1=-2, dim2=-1).sum(-1), moments.square().sum((-2, -1))
    number = keys.counted.sum(-1)
    unit = torch.nn.functional.normalize(about, dim=-1)
    pairs = (number * (number - 1)).masked_fill(number < 2, math.nan)
    cosine = (unit.sum(2).square().sum(-1) - unit.square().sum((2, 3))) / pairs
    groups = call.heads // call.kv_heads
    energy = queries.values.square().sum(2) / queries.counted.sum(-1).clamp_min(1)[..., None]
    energy = energy.view(call.batch, call.kv_heads, groups, -1).mean(2)
    variance = moments.diagonal(dim1=-2, dim2=-1) / number.clamp_min(1)[..., None]
    rank = trace.square() / square.masked_fill(square == 0, math.nan)
    return rank, cosine, energy, variance


def _wide(values: Tensor, real: Tensor | None) -> Vectors:
    return Vectors.of(values if values.device.type == "mps" else values.double(), real)


def _real_queries(stored: Stored) -> Tensor | None:
    real = stored.real
    return real if real is not None and real.shape[1] == stored.call.n_queries else None


def _gain(module: nn.Module, dim: int) -> Tensor | None:
    children = dict(module.named_children())
    for names in NORMS:
        weights = [getattr(children.get(name), "weight", None) for name in names]
        if all(isinstance(weight, Tensor) and weight.shape == (dim,) for weight in weights):
            return (weights[0].detach() * weights[1].detach()).abs().double().cpu()  # type: ignore[union-attr]
    return None


def _find_groups(context: EvaluationContext, layers: dict[str, LayerKeys], batch: Batch) -> None:
    """Which components of each layer go together, from one batch; queries and keys before the rotation are needed."""
    unrotated = Unrotated()
    for layer in layers.values():
        layer.reason = "its call was not captured again"

    def answer(event: AttentionEvent) -> None:
        layer, call = layers.get(event.path), event.call
        if layer is not None:
            layer.groups, layer.reason = _groups(unrotated, event.module, call.query, call.key)

    unrotated.begin(context.model, lambda: True)
    try:
        with intercept(context.model, answer):
            run_all(context.model, [batch], [batch], lambda: None)
    finally:
        unrotated.end()


def _groups(unrotated: Unrotated, module: nn.Module, query: Tensor, key: Tensor) -> tuple[list[list[int]], str]:
    before, reason = unrotated.of(module, query, key)
    dim = key.shape[-1]
    if before is None:
        return ([[c] for c in range(dim)], "") if reason == NOT_ROTATED else ([], reason)
    turn = rotation_between(before[1], key)
    if turn is None:
        return [], "pairs of components that rotate together were not found"
    pairs = [list(pair) for pair in zip(turn.first.tolist(), turn.second.tolist(), strict=True)]
    paired = {c for pair in pairs for c in pair}
    return [*pairs, *([c] for c in range(dim) if c not in paired)], ""


STAGES = ("after", "before")
"""Keys after the rotation of positions, as they are cached, or before it."""


@dataclass(frozen=True)
class Stored:
    """Keys of one call as a cache stores them, before or after rotation.

    Attributes:
        call: The attention call; rows of padding see nothing.
        key: ``(batch, kv_head, key, dim)`` as stored.
        real: ``(batch, key)`` bool, False at padding; None where all are real.
        turn: What rotates stored keys into those of the call; None where they are the same.
        path: Path of the attention module, with ``#2`` ... for further calls.
        layer: The attention module.
        own: Runs the model's own kernel.
    """

    call: AttentionCall
    key: Tensor
    real: Tensor | None
    turn: Rotation | None
    path: str
    layer: nn.Module
    own: Callable[[], Tensor]

    @property
    def module(self) -> str:
        """Path of the module, without the call number."""
        return self.path.split("#")[0]

    def read(self, key: Tensor) -> Tensor:
        """Convert stored keys to those that the kernel reads."""
        return key if self.turn is None else self.turn.of(key)


Visit = Callable[[Stored], Tensor | None]
"""What is done with a call: an output ``(batch, head, query, value_dim)`` in place of the model's, or None."""


@dataclass
class Left:
    """Paths of the attention modules whose keys could not be changed, with the reason for each."""

    reasons: dict[str, str] = field(default_factory=dict)


@contextmanager
def stored_keys(model: nn.Module, batch_now: Sequence[Batch], stage: str, visit: Visit) -> Iterator[Left]:
    """Return a context that calls ``visit`` with the stored keys of every attention call.

    Args:
        model: The model, in evaluation mode.
        batch_now: Holds the batch that runs at this moment as its first entry.
        stage: A name of ``STAGES``.
        visit: Called with each call.

    Yields:
        What was left, filled while the model runs.

    Raises:
        CaptureError: The model ran and none of its attention could be captured.
    """
    left, unrotated, captured = Left(), Unrotated(), [False]

    def answer(event: AttentionEvent) -> Tensor | None:
        with unwatched(), torch.no_grad():
            stored = _stored(event, batch_now[0], stage, unrotated, left)
            if stored is None:
                return None
            captured[0] = True
            return visit(stored)

    if stage == "before":
        unrotated.begin(model, lambda: True)
    try:
        with intercept(model, answer) as way:
            yield left
        left.reasons |= way.not_captured()
    finally:
        unrotated.end()
    if not captured[0]:
        message = f": {path}: {why}" if (path := next(iter(left.reasons), "")) and (why := left.reasons[path]) else ""
        raise CaptureError(type(model).__name__, f"no keys were captured {stage} rotation{message}")


def run_all(model: nn.Module, batches: Sequence[Batch], now: list[Batch], tick: Callable[[], None]) -> None:
    """Run a model over batches; ``now`` always holds the current batch."""
    with torch.no_grad():
        for batch in batches:
            now[:] = [batch]
            run_model(model, batch.input_ids, batch.attention_mask)
            tick()


def _stored(event: AttentionEvent, batch: Batch, stage: str, unrotated: Unrotated, left: Left) -> Stored | None:
    call = event.call
    if call.value is None:
        left.reasons.setdefault(event.path, NO_PRODUCT)
        return None
    if call.batch != len(batch.input_ids):
        message = f"its batch of {call.batch} is not one of {len(batch.input_ids)} sequences"
        left.reasons.setdefault(event.path, message)
        return None
    batch = batch.at(call.query.device)
    call = without_padded_rows(event, batch).call
    real = batch.attention_mask.bool() if batch.attention_mask.shape[1] == call.n_keys else None
    real = None if real is None or bool(real.all()) else real

    def own() -> Tensor:
        return event.run(None)

    if stage == "after":
        return Stored(call, call.key, real, None, event.path, event.module, own)
    before, reason = unrotated.of(event.module, call.query, call.key)
    if before is None:
        if reason == NOT_ROTATED:
            return Stored(call, call.key, real, None, event.path, event.module, own)
        left.reasons.setdefault(event.path, f"before rotation: {reason}")
        return None
    turn = rotation_between(before[1], call.key)
    if turn is None:
        left.reasons.setdefault(event.path, "before rotation: its pairs of components were not found")
        return None
    return Stored(call, before[1], real, turn, event.path, event.module, own)


def other_keys(stored: Stored, key: Tensor) -> AttentionCall:
    """Return the call with other keys in place of the stored ones."""
    return replace(stored.call, key=stored.read(key).to(stored.call.key.dtype))


SHARES = (1.0, 0.75, 0.5, 0.4, 0.25)
"""Shares of the components that models rotate."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Relative difference that rounding of a rotation in each number format explains."""


@dataclass(frozen=True)
class Rotation:
    """Pairs of components that rotate together, and their angle at each position.

    Attributes:
        first: ``(pair,)`` int64, components that are the real parts.
        second: ``(pair,)`` int64, components that are the imaginary parts.
        angle: ``(batch, position, pair)`` complex numbers of modulus 1.
    """

    first: Tensor
    second: Tensor
    angle: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Rotate values ``(batch, head, position, dim)``; components without a pair stay unchanged."""
        turned = values.clone()
        pairs = torch.complex(values[..., self.first].float(), values[..., self.second].float())
        pairs = pairs * self.angle[:, None]
        turned[..., self.first], turned[..., self.second] = pairs.real.to(values.dtype), pairs.imag.to(values.dtype)
        return turned


def rotation_between(before: Tensor, after: Tensor) -> Rotation | None:
    """Estimate the rotation from keys ``before`` to keys ``after``, common to all heads; None if there is none.

    Components turn in pairs: ``c`` with ``c + d/2`` or ``2c`` with ``2c + 1``, of all ``d`` components or of the first
    or last part of them. The angle of a pair is that of the sum over heads of after times conjugate before; a pairing
    is believed only where turning by it gives the keys again, to the rounding of their number format.

    Args:
        before: ``(batch, kv_head, position, dim)``.
        after: The same keys, rotated.

    Returns:
        The rotation, or None where none of the pairings explains the difference.
    """
    tolerance = max(TOLERANCE[before.dtype], TOLERANCE[after.dtype])
    scale = after.float().norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    for first, second in _pairings(before.shape[-1], before.device):
        one, other = (torch.complex(v[..., first].float(), v[..., second].float()) for v in (before, after))
        product = (other * one.conj()).sum(1)
        size = product.abs()
        turn = Rotation(first, second, torch.where(size > 0, product / size.clamp_min(1e-30), 1.0 + 0.0j))
        if bool(((turn.of(before.float()) - after.float()).abs() <= tolerance * scale).all()):
            return turn
    return None


def _pairings(dim: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for share in SHARES:
        part = int(dim * share) // 2 * 2
        if not part:
            continue
        for start in dict.fromkeys((0, dim - part)):
            place = torch.arange(start, start + part, device=device)
            yield place[: part // 2], place[part // 2 :]
            yield place[0::2], place[1::2]
