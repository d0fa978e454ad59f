"""Watch the training forwards of one step until the sample is full; the hooks are removed then, also if one raises."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from heedful.distributed.sharded import is_tensor_parallel
from heedful.errors import UsageError
from heedful.interception.copies import unhooked_copies
from heedful.interception.uncompiled import uncompiled
from heedful.monitoring.tracker.forward_sums import ForwardSums
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.vectors.sample import Sample


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


class ForwardRecorder:
    """Measures the next training forwards of a model, as many as its sample of sequences takes, and no other.

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
