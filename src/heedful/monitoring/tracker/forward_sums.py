"""Sum statistics over the attention calls of a forward, in training or from a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.unrotated import Unrotated
from heedful.monitoring.tracker.layer import Layer, brief_sums, layer_sums
from heedful.monitoring.vectors.sample import Sample, first_sequences
from heedful.monitoring.vectors.sums import Sums

UNMEASURED = "before rotation: not measured, "
"""How a note begins that says why nothing before a rotation was measured."""


def _always() -> bool:
    return True


@dataclass
class ForwardSums:
    """Sums of the attention calls of all forwards inside ``meeting``, until the sample is full.

    Attributes:
        sample: How much of a batch is measured.
        turn: How often was measured before.
        brief: Whether largest logits, entropies and sinks are all that is measured.
        layers: The attention modules that were met, by path, in the order of their calls.
        modules: Path to attention module.
        sums: Path to what was summed of its calls.
        notes: Path to why something of it was not measured.
        seconds: Wall-clock time that measuring took.
        step: Columns of the whole step that features add.
        taken: Sequences of the forwards that were measured before.
    """

    sample: Sample
    turn: int = 0
    brief: bool = False
    layers: dict[str, Layer] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    sums: dict[str, Sums] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    step: dict[str, Tensor] = field(default_factory=dict)
    taken: int = 0
    _current: int = 0
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
        self._current = 0
        with intercept(model, self._meet) as way:
            if not self.brief:
                self._unrotated.begin(model, listens)
            try:
                yield way
            finally:
                self._unrotated.end()

    @property
    def full(self) -> bool:
        """Whether as many sequences were measured as the sample holds."""
        return self.taken >= self.sample.sequences

    def forward_ended(self) -> None:
        """Count the sequences of a forward; run after it."""
        self.taken += self._current

    def note_not_captured(self, way: Any) -> None:
        """Add to ``notes`` the modules whose attention could not be interpreted or captured; call this after a
        forward.
        """
        self.notes |= way.not_captured()

    def _meet(self, event: AttentionEvent) -> None:
        begin = time.perf_counter()
        kind, call = event.call.query.device.type, event.call
        sample = replace(self.sample, sequences=self.sample.sequences - self.taken)
        with torch.no_grad(), unwatched(), torch.autocast(kind, enabled=False):
            rows = max(0, self.sample.rows(call) - self.taken)
            if self.brief:
                sums, reason = brief_sums(first_sequences(call, rows)) if rows else Sums(), ""
            else:
                before, reason = self._unrotated.of(event.module, call.query, call.key)
                sums = layer_sums(event, before, sample, self.turn, rows)
            if event.path in self.sums:
                self.sums[event.path] = _merged(self.sums[event.path], sums)
            else:
                irreps = tuple(getattr(event.module, "head_labels", ()))
                number = len(self.layers)
                self.layers[event.path] = Layer(number, event.path, call.heads, call.kv_heads, irreps)
                self.modules[event.path], self.sums[event.path] = event.module, sums
            if reason:
                self.notes[event.path] = f"{UNMEASURED}{reason}"
        self._current = max(self._current, call.batch)
        self.seconds += time.perf_counter() - begin


def _merged(one: Sums, other: Sums) -> Sums:
    """Both together; a stage that only one of them has is left out, rows that only the first was asked for are kept."""
    if not any(name.startswith("attention/") for name in other.added):
        rows = {f"attention/{name}": value for name, value in one.within("attention/").added.items()}
        most = {f"attention/{name}": value for name, value in one.within("attention/").maxima.items()}
        both = _both(one, other)
        return Sums({**both.added, **rows}, {**both.maxima, **most})
    return _both(one, other)


def _both(one: Sums, other: Sums) -> Sums:
    added, maxima = one.added.keys() & other.added.keys(), one.maxima.keys() & other.maxima.keys()
    kept = Sums({name: one.added[name] for name in one.added if name in added}, {n: one.maxima[n] for n in maxima})
    return kept.merged(other)
