"""Sum statistics over the attention calls of a forward, in training or from a checkpoint.

Watch the training forwards of one step until the sample is full; the hooks are removed then, also if one raises.

Merge the sums of several processes with one all-reduce per recorded step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from heedful.distributed.sharded import is_tensor_parallel
from heedful.errors import UsageError
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unhooked_copies, unwatched
from heedful.interception.uncompiled import uncompiled
from heedful.interception.unrotated import Unrotated
from heedful.monitoring.tracker.layer import Layer, brief_sums, layer_sums
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.vectors.sums import Sums
from heedful.monitoring.vectors.vectors import Sample, first_sequences

UNMEASURED = "before rotation: not measured, "
"""How a note begins that says why nothing before a rotation was measured."""


def _always() -> bool:
    return True


@dataclass
class ForwardSums:
    """Sums of statistics of each attention module, over the forwards that run inside ``meeting``.

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
        """Whether as many sequences were measured as the sample asks for."""
        return self.taken >= self.sample.sequences

    def forward_ended(self) -> None:
        """Add the sequences of the forward that just ended to the number of measured sequences."""
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


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


class ForwardRecorder:
    """Records the next training forwards of a model until enough sequences are measured, and ignores all others.

    A step that is accumulated from several forwards is measured as the same step in one forward would be. A forward
    counts where gradients are on and, if the model was ever seen in training mode, it is in training mode:
    evaluation does not count, nor does what gradient checkpointing runs again. Once the sample is full, or a forward
    raised, nothing stands on the model any more; before it, two hooks do, and compiled code runs eagerly.

    Attributes:
        found: What was met of the forward.
        trained: Whether the model was ever seen in training mode.
        loss: Loss that the watched forward returned, or None.
        done: Whether a forward was measured.
        broken: Whether a forward that counted raised.
    """

    def __init__(self, model: nn.Module, sample: Sample, turn: int, trained: bool, brief: bool = False) -> None:
        self.model, self.trained = model, trained
        self.found = ForwardSums(sample, turn, brief)
        self.loss: Tensor | None = None
        self.done = self.broken = False
        self._way: Any = None
        self._forward, self._standing = ExitStack(), ExitStack()
        # Compiled code is left before the forward begins: inside it, it would be too late.
        self._standing.enter_context(uncompiled())
        self._standing.enter_context(unhooked_copies())
        for handle in (
            model.register_forward_pre_hook(self._enter, with_kwargs=True),
            model.register_forward_hook(self._leave),
        ):
            self._standing.callback(handle.remove)

    def close(self) -> None:
        """Remove every hook, even if the forward was interrupted."""
        self._end_forward()
        self._standing.close()

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A replica of another thread is not the model: it would be measured in part, and twice at a time.
        if _in_backward() or module is not self.model:
            return
        self._end_forward()
        self.trained = self.trained or module.training
        counts = torch.is_grad_enabled() and (module.training or not self.trained)
        if self.found.full or not counts:
            return
        if is_tensor_parallel(self.model):
            message = f"{type(self.model).__name__} is divided over processes, each of which would record its own heads"
            raise UsageError(f"tracker: {message} (train it data-parallel, or capture it with heedful.capture)")
        if not self.done and not self.found.brief:
            for part in TRACKER_PARTS.values():
                self.found.step |= part.step(self.model, kwargs.get("input_ids"))
        self._way = self._forward.enter_context(self.found.meeting(self.model, lambda: not _in_backward()))
        self._way.stack.begin(module, args, kwargs)
        last = module.register_forward_hook(self._fail, always_call=True)
        self._last = last.id
        self._forward.callback(last.remove)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._way is None or module is not self.model or _in_backward():
            return
        self.done = bool(self.found.sums)
        self.found.forward_ended()
        self.found.note_not_captured(self._way)
        loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
        self.loss = loss.detach() if isinstance(loss, Tensor) else None
        self._end_forward()
        if self.done and self.found.full:
            self._standing.close()

    def _fail(self, module: nn.Module, args: Any, output: Any) -> None:
        """The forward raised: after one that returned, ``_leave`` was called before this.

        torch then calls such hooks while it walks through the table of them, from which none may be taken but at its
        end. This hook was made last; should another have come after it, hooks stay until the tracker's next event.
        """
        if self._way is None or module is not self.model or _in_backward():
            return
        self.broken = True
        if next(reversed(module._forward_hooks)) == self._last:
            self.close()

    def _end_forward(self) -> None:
        self._way = None
        self._forward.close()


PATIENCE = 5.0
"""Seconds after which a backend's hold on a tensor is its own concern."""
REST = 2e-3
"""Seconds for what else the thread lets go of, which does not show from here."""


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if _several() else 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def over_ranks(sums: Sums, device: torch.device) -> Sums:
    """Return the sums over all processes, by one all-reduce; every process has to call it with the same names.

    Args:
        sums: Those of this process.
        device: Where the processes' backend exchanges tensors.

    Returns:
        Those of all; this process's own where it is alone.
    """
    if not _several():
        return sums
    count = dist.get_world_size()
    packed = sums.packed(dist.get_rank(), count)
    # Gloo exchanges memory of the host, others that of their device.
    place = torch.device("cpu") if dist.get_backend() == "gloo" else device
    total = packed.to(place)
    sum_of_all(total)
    return sums.unpacked(total.cpu(), count)


def sum_of_all(own: torch.Tensor) -> None:
    """Sum a tensor over all processes in place, and wait until the backend has released the tensor.

    Gloo's thread lets go a moment after the exchange, for which it needs the interpreter. A process that lets go of
    DistributedDataParallel in that moment holds the interpreter while it waits for the thread, and both wait for ever.

    Args:
        own: This process's numbers; those of all afterwards.
    """
    holders = sys.getrefcount(own)
    dist.all_reduce(own)
    until = time.monotonic() + PATIENCE
    while sys.getrefcount(own) > holders and time.monotonic() < until:
        time.sleep(1e-4)
    time.sleep(REST)
