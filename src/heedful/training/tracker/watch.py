"""One training forward, watched: hooks stand for that forward and are gone after it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from heedful.capture import AttentionEvent, intercept, uncompiled, unwatched
from heedful.keys import Sample, Sums
from heedful.training.tracker.layer import Layer, layer_sums
from heedful.training.tracker.unrotated import Unrotated


class Watch:
    """Measures the next training forward of a model, and no other.

    A forward counts where gradients are on and, if the model was ever seen in training mode, it is in training mode:
    evaluation does not count, nor does what gradient checkpointing runs again.

    Attributes:
        layers: The attention modules that were met, by path, in the order of their calls.
        modules: Path to attention module.
        sums: Path to what was summed of its call.
        notes: Path to why something of it was not measured.
        trained: Whether the model was ever seen in training mode.
        loss: Loss that the watched forward returned, or None.
        angle_spread: Spread of the angles of the forward's tokens, where the model has frames; or None.
        seconds: Wall-clock time that measuring took.
    """

    def __init__(self, model: nn.Module, sample: Sample, turn: int, trained: bool) -> None:
        self.model, self.sample, self.turn, self.trained = model, sample, turn, trained
        self.layers: dict[str, Layer] = {}
        self.modules: dict[str, nn.Module] = {}
        self.sums: dict[str, Sums] = {}
        self.notes: dict[str, str] = {}
        self.loss: Tensor | None = None
        self.angle_spread: Tensor | None = None
        self.seconds = 0.0
        self.done = False
        self._unrotated = Unrotated()
        self._forward = ExitStack()
        self._way: Any = None
        self._standing = ExitStack()
        # Compiled code is left before the forward begins: inside it, it would be too late.
        self._standing.enter_context(uncompiled())
        for handle in (
            model.register_forward_pre_hook(self._enter, with_kwargs=True),
            model.register_forward_hook(self._leave),
        ):
            self._standing.callback(handle.remove)

    def close(self) -> None:
        """Take every hook away, also after a forward that was broken off."""
        self._end_forward()
        self._standing.close()

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch._C._current_graph_task_id() != -1:
            return
        self._end_forward()
        self.trained = self.trained or module.training
        counts = torch.is_grad_enabled() and (module.training or not self.trained)
        if self.done or not counts:
            return
        self.angle_spread = _angle_spread(self.model, kwargs.get("input_ids"))
        self._way = self._forward.enter_context(intercept(self.model, self._meet))
        self._way.stack.begin(module, args, kwargs)
        self._unrotated.begin(self.model, lambda: torch._C._current_graph_task_id() == -1)
        self._forward.callback(self._unrotated.end)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._way is None or torch._C._current_graph_task_id() != -1:
            return
        self.done = bool(self.sums)
        self.notes |= self._way.not_understood
        self.notes |= {
            path: f"{name} ran and showed no attention" for path, name in self._way.stack.never_met().items()
        }
        loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
        self.loss = loss.detach() if isinstance(loss, Tensor) else None
        self._end_forward()

    def _end_forward(self) -> None:
        self._way = None
        self._forward.close()

    def _meet(self, event: AttentionEvent) -> None:
        begin = time.perf_counter()
        kind = event.call.query.device.type
        with torch.no_grad(), unwatched(), torch.autocast(kind, enabled=False):
            before, reason = self._unrotated.of(event.module, event.call.query, event.call.key)
            layer = Layer(len(self.layers), event.path, event.call.heads, event.call.kv_heads, _irreps(event.module))
            self.layers[event.path], self.modules[event.path] = layer, event.module
            self.sums[event.path] = layer_sums(event, before, self.sample, self.turn)
            if reason:
                self.notes[event.path] = f"before rotation: not measured, {reason}"
        self.seconds += time.perf_counter() - begin


def _irreps(module: nn.Module) -> tuple[str, ...]:
    """Names that an attention module gives its heads."""
    return tuple(getattr(module, "head_labels", ()))


def _angle_spread(model: nn.Module, ids: Tensor | None) -> Tensor | None:
    tables: Any = next((module for module in model.modules() if hasattr(module, "angle_spread")), None)
    return None if tables is None or ids is None else tables.angle_spread(ids)
