"""Access the keys of a running model as a cache stores them, and run the model with changed keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.errors import CaptureError
from heedful.evaluation.evidence import NO_PRODUCT, without_padded_rows
from heedful.evaluation.running import run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.unrotated import NOT_ROTATED, Unrotated
from heedful.loading.batch import Batch
from heedful.monitoring.vectors.rotation import Rotation, rotation_between

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
