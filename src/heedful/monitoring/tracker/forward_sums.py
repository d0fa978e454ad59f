"""Sum statistics over the attention calls of a forward, in training or from a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.unrotated import Unrotated
from heedful.monitoring.tracker.layer import Layer, layer_sums
from heedful.monitoring.vectors.sample import Sample
from heedful.monitoring.vectors.sums import Sums

UNMEASURED = "before rotation: not measured, "
"""How a note begins that says why nothing before a rotation was measured."""


def _always() -> bool:
    return True


@dataclass
class ForwardSums:
    """Statistics of attention calls, summed over all forwards inside the context ``meeting``.

    Attributes:
        sample: How much of a batch is measured.
        turn: How often was measured before.
        layers: The attention modules that were met, by path, in the order of their calls.
        modules: Path to attention module.
        sums: Path to what was summed of its calls.
        notes: Path to why something of it was not measured.
        seconds: Wall-clock time that measuring took.
        step: Columns of the whole step that features add.
    """

    sample: Sample
    turn: int = 0
    layers: dict[str, Layer] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    sums: dict[str, Sums] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    step: dict[str, Tensor] = field(default_factory=dict)
    _unrotated: Unrotated = field(default_factory=Unrotated)

    @contextmanager
    def meeting(self, model: nn.Module, listens: Callable[[], bool] = _always) -> Iterator[Any]:
        """Return a context that measures the model's forwards; its hooks are removed at the end.

        Args:
            model: The model.
            listens: Whether outputs of projections are wanted at this moment.

        Yields:
            The interception.
        """
        with intercept(model, self._meet) as way:
            self._unrotated.begin(model, listens)
            try:
                yield way
            finally:
                self._unrotated.end()

    def note_not_captured(self, way: Any) -> None:
        """After a forward, list attention calls that heedful could not interpret or capture."""
        self.notes |= way.not_captured()

    def _meet(self, event: AttentionEvent) -> None:
        begin = time.perf_counter()
        kind = event.call.query.device.type
        with torch.no_grad(), unwatched(), torch.autocast(kind, enabled=False):
            before, reason = self._unrotated.of(event.module, event.call.query, event.call.key)
            sums = layer_sums(event, before, self.sample, self.turn)
            if event.path in self.sums:
                self.sums[event.path] = _merged(self.sums[event.path], sums)
            else:
                irreps = tuple(getattr(event.module, "head_labels", ()))
                number, call = len(self.layers), event.call
                self.layers[event.path] = Layer(number, event.path, call.heads, call.kv_heads, irreps)
                self.modules[event.path], self.sums[event.path] = event.module, sums
            if reason:
                self.notes[event.path] = f"{UNMEASURED}{reason}"
        self.seconds += time.perf_counter() - begin


def _merged(one: Sums, other: Sums) -> Sums:
    """Both together; a stage that only one of them has is left out."""
    added, maxima = one.added.keys() & other.added.keys(), one.maxima.keys() & other.maxima.keys()
    kept = Sums({name: one.added[name] for name in one.added if name in added}, {n: one.maxima[n] for n in maxima})
    return kept.merged(other)
