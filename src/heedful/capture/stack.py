"""Which module is running: hooks on every module, gone without trace afterwards."""

from __future__ import annotations

import inspect
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heedful.capture.uncompiled import plain_path

LOOKS_LIKE_ATTENTION = re.compile(r"attention|attn|^mha$", re.IGNORECASE)
"""Class or attribute names of modules that are expected to attend. Only used to list what was not met."""

PASSES_THROUGH = re.compile(r"output|norm|mask|embed|rotary|dropout|proj|intermediate", re.IGNORECASE)
"""Class names that mention attention and do not attend themselves (``BertSelfOutput`` lies in ``attention.output``)."""


@dataclass
class Frame:
    """A module whose forward is running.

    Attributes:
        path: Its path.
        module: The module.
        entering: ``(batch, position, width)`` representations that entered it, or None.
        met: Whether attention of it or of a module inside was met.
        met_by: How attention of its own was met.
    """

    path: str
    module: nn.Module
    entering: Tensor | None
    met: bool = False
    met_by: str | None = None


@dataclass
class ModuleStack:
    """The modules whose forward is running, outermost first, and what was seen of the current forward.

    Attributes:
        paths: Module identity to its path; the root is the empty path.
        padding: ``(batch, position)`` bool of the current forward's ``attention_mask``, True at real tokens, or None.
        unmet: Path to class name of modules that look like attention, ran, and showed no call.
        forwards: Number of outermost forwards begun.
        leaving: Called with each frame whose forward ends, while it is still on the stack, and whether it returned.
    """

    model: nn.Module
    paths: dict[int, str] = field(default_factory=dict)
    padding: Tensor | None = None
    unmet: dict[str, str] = field(default_factory=dict)
    met_paths: set[str] = field(default_factory=set)
    forwards: int = 0
    leaving: Callable[[Frame, bool], None] = lambda frame, returned: None
    _frames: list[Frame] = field(default_factory=list)
    _handles: list[Any] = field(default_factory=list)
    _calls: Counter[str] = field(default_factory=Counter)
    _thread: int = field(default_factory=threading.get_ident)

    def __enter__(self) -> ModuleStack:
        for path, module in self.model.named_modules():
            self.paths.setdefault(id(module), plain_path(path))
        for module in {id(m): m for m in self.model.modules()}.values():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            self._handles.append(module.register_forward_pre_hook(self._push, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._pop, always_call=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._frames.clear()
        self.padding = None

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take a forward that runs already as begun: hooks made inside a hook are first called in the next one."""
        self._push(module, args, kwargs)

    def elsewhere(self) -> bool:
        """Whether this is another thread than the one that watches, or a backward pass that runs a forward again."""
        return threading.get_ident() != self._thread or torch._C._current_graph_task_id() != -1

    def _push(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.elsewhere():
            return
        # A module that is on the stack already was left by an interrupt, whose frames nobody took off.
        running = [frame.module for frame in self._frames]
        if module in running:
            del self._frames[running.index(module) :]
        if not self._frames:
            self._calls.clear()
            self.forwards += 1
            self.padding = _padding(module, args, kwargs)
        self._frames.append(Frame(self.paths.get(id(module), ""), module, _entering(module, args, kwargs)))

    def _pop(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.elsewhere():
            return
        while self._frames:
            frame = self._frames[-1]
            ends = frame.module is module
            try:
                self.leaving(frame, ends and output is not None)
            finally:
                del self._frames[-1]
            self._note(frame)
            if ends:
                return

    def _note(self, frame: Frame) -> None:
        name, attribute = type(frame.module).__name__, frame.path.rsplit(".", 1)[-1]
        if frame.met:
            if self._frames:
                self._frames[-1].met = True
            return
        looks = LOOKS_LIKE_ATTENTION.search(name) or (
            LOOKS_LIKE_ATTENTION.search(attribute) and any(frame.module.children())
        )
        inside = any(LOOKS_LIKE_ATTENTION.search(type(f.module).__name__) and f.met for f in self._frames)
        if looks and not PASSES_THROUGH.search(name) and not inside and any(True for _ in frame.module.parameters()):
            self.unmet[frame.path] = name

    def attending(self) -> Frame | None:
        """The innermost running module that looks like attention."""
        for frame in reversed(self._frames):
            name, attribute = type(frame.module).__name__, frame.path.rsplit(".", 1)[-1]
            if LOOKS_LIKE_ATTENTION.search(name) or LOOKS_LIKE_ATTENTION.search(attribute):
                return None if PASSES_THROUGH.search(name) else frame
        return None

    def seen(self, frame: Frame) -> None:
        """An attention of this module was seen, so that neither it nor what holds it is listed as never met."""
        frame.met = True
        self.met_paths.add(frame.path)

    def runs(self, frame: Frame) -> bool:
        """Whether this very forward is still running."""
        return any(frame is running for running in self._frames)

    def owner(
        self, module: nn.Module | None = None, way: str | None = None
    ) -> tuple[str, nn.Module | None, Tensor | None]:
        """Path, module and entering representations of the attention that is calling now, marked as met.

        Args:
            module: The module as the caller knows it; None takes the innermost running one.
            way: How the call was met.
        """
        frame = next((f for f in reversed(self._frames) if module is None or f.module is module), None)
        if frame is not None:
            frame.met, frame.met_by = True, way
        module = module if module is not None else (frame.module if frame else None)
        path = self.paths.get(id(module), "") if module is not None else ""
        self._calls[path] += 1
        self.met_paths.add(path)
        occurrence = self._calls[path]
        return (path if occurrence == 1 else f"{path}#{occurrence}"), module, (frame.entering if frame else None)

    def never_met(self) -> dict[str, str]:
        """Modules that look like attention, ran, and never showed a call: path to class name."""
        return {
            path: name
            for path, name in self.unmet.items()
            if not any(
                met == path or met.startswith(path + ".") or path.startswith(met + ".") for met in self.met_paths if met
            )
        }


def _padding(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The 2-D ``attention_mask`` of a forward, whichever way it was passed."""
    if getattr(getattr(module, "config", None), "is_encoder_decoder", False):
        return None
    mask = kwargs.get("attention_mask")
    if mask is None and args:
        try:
            names = list(inspect.signature(module.forward).parameters)
        except (TypeError, ValueError):
            return None
        if "attention_mask" in names and names.index("attention_mask") < len(args):
            mask = args[names.index("attention_mask")]
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        return None
    real = mask.bool()
    return None if bool(real.all()) else real


def _entering(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    named = kwargs.get("hidden_states")
    for value in (named, *args, *kwargs.values()):
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 3:
            position_first = isinstance(module, nn.MultiheadAttention) and not module.batch_first
            return value.transpose(0, 1) if position_first else value
    return None
