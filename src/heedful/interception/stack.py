"""Track which module is running, by hooks on every module that are removed afterwards.

Find two-dimensional masks among a module's arguments.

Detect layers without attention: they get no hooks, and their operations are attributed to the parent.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from heedful.interception.adapter import Reader, reader_of
from heedful.interception.uncompiled import plain_path

LOOKS_LIKE_ATTENTION = re.compile(r"attention|attn|^mha$", re.IGNORECASE)
"""Class or attribute names of modules that are expected to attend. Only used to list what was not met."""

PASSES_THROUGH = re.compile(
    r"(output|norm\d*d?|mask|masks|embedd?ings?|dropout|proj|projection|intermediate|layer_?norm|bias)$", re.IGNORECASE
)
"""Class names that mention attention and do not attend (``BertSelfOutput`` lies in ``attention.output``). The last word
of a name says what a thing is: ``AttentionNorm`` is a norm, ``NormAttention`` attends."""

HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "nhead", "nheads", "head_num")
"""Attributes by which attention modules name their number of heads."""


_attends = lru_cache(1024)(LOOKS_LIKE_ATTENTION.search)
_ident, _backward, _tracing = threading.get_ident, torch._C._current_graph_task_id, torch._C._get_tracing_state

_known: ContextVar[frozenset[int]] = ContextVar("known", default=frozenset())
"""The stacks that were entered in this context: a task gets a copy of that of the task that began it."""


def _running_task() -> asyncio.Task[Any] | None:
    """The task of asyncio that runs now; None outside one."""
    return asyncio.current_task() if asyncio._get_running_loop() is not None else None


@dataclass(eq=False, slots=True)
class Frame:
    """A module whose forward is running.

    Attributes:
        path: Its path.
        module: The module.
        entering: ``(batch, position, width)`` representations that entered it, or None.
        handed: Masks and fresh inputs that it was handed.
        number: Of this run of a module, counted over all modules and forwards.
        captured: Whether attention of it or of a module inside was met.
        rows: Query rows of its own calls that were described.
        covered: Those of its calls since each of its positions had asked once.
        queries: Where the queries of its calls come from.
        entered: How many positions entered it; None where it is not known.
        real: Shape ``(batch, query)`` to which of those positions are tokens, as self-attention inside has shown it;
            None where all are.
        given: Arguments and keyword arguments of the forward.
        reader: What reads its attention from its output, where an adapter says so.
    """

    path: str
    module: nn.Module
    entering: Tensor | None
    handed: Handed
    number: int = 0
    captured: bool = False
    rows: int = 0
    covered: int = 0
    queries: list[Any] = field(default_factory=list)
    entered: int | None = None
    real: dict[tuple[int, int], Tensor | None] = field(default_factory=dict)
    given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    reader: Reader | None = None


@dataclass
class ModuleStack:
    """Running modules, outermost first, and what was captured in the current forward.

    Attributes:
        paths: Module identity to its path; the root is the empty path.
        not_captured: Path to class name of modules that look like attention, ran, and showed no call.
        shares: Path to rows that were described of a module's calls, and rows that it put out.
        forwards: Number of outermost forwards begun.
        leaving: Called with each frame whose forward ends, while it is still on the stack, and its output (None after
            an error); what it returns takes the output's place, unless it is None.
        ended: Called when an outermost forward has ended.
        adapted: How many of the running modules an adapter reads.
    """

    model: nn.Module
    paths: dict[int, str] = field(default_factory=dict)
    not_captured: dict[str, str] = field(default_factory=dict)
    captured_paths: set[str] = field(default_factory=set)
    shares: dict[str, list[int]] = field(default_factory=dict)
    forwards: int = 0
    leaving: Callable[[Frame, Any], Any] = lambda frame, output: None
    ended: Callable[[], Any] = lambda: None
    frames: list[Frame] = field(default_factory=list)
    adapted: int = 0
    _handles: list[Any] = field(default_factory=list)
    _runs: Counter[str] = field(default_factory=Counter)
    _convolving: dict[int, bool] = field(default_factory=dict)
    _begun: int = 0
    _thread: int = field(default_factory=threading.get_ident)
    _task: asyncio.Task[Any] | None = None

    def __enter__(self) -> ModuleStack:
        self._task = _running_task()
        if self._task is not None:
            _known.set(_known.get() | {id(self)})
        for path, module in self.model.named_modules():
            self.paths.setdefault(id(module), plain_path(path))
        for module in {id(m): m for m in self.model.modules()}.values():
            if isinstance(module, torch.jit.ScriptModule) or (is_plain_leaf(module) and module is not self.model):
                continue
            self._handles.append(module.register_forward_pre_hook(self._push, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._pop, always_call=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._cut(0)

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Start tracking in the middle of a forward, because hooks added now run only from the next forward on."""
        self._push(module, args, kwargs)

    def elsewhere(self) -> bool:
        """Return whether another thread or task, or a recomputing backward pass, is running.

        A task that was begun inside, by one that watches, belongs to it.
        """
        if _ident() != self._thread or _backward() != -1:
            return True
        if self._task is None or self._task.done():
            return False
        return _running_task() is not self._task and id(self) not in _known.get()

    def _push(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.elsewhere():
            return
        with torch._C.DisableTorchFunction():
            # A module that is on the stack already was left by an interrupt, whose frames nobody took off.
            for place, frame in enumerate(self.frames):
                if frame.module is module:
                    self._cut(place)
                    break
            if not self.frames:
                self._runs.clear()
                self.forwards += 1
            path = self.paths.get(id(module), "")
            self._begun += 1
            if _tracing() is not None or torch.compiler.is_exporting():  # nothing of ours belongs into a traced graph
                self.frames.append(Frame(path, module, None, NOTHING, self._begun))
                return
            found, entering = handed(module, args, kwargs), _entering(module, args, kwargs)
            entered = _entered(module, entering, args, kwargs)
            reader = reader_of(module)
            self.adapted += reader is not None
            self.frames.append(
                Frame(path, module, entering, found, self._begun, entered=entered, given=(args, kwargs), reader=reader)
            )

    def _pop(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self.elsewhere() or not any(frame.module is module for frame in self.frames):
            return None
        other = None
        with torch._C.DisableTorchFunction():
            while self.frames:
                frame = self.frames[-1]
                ends = frame.module is module
                try:
                    other = self.leaving(frame, output if ends else None)
                finally:
                    self._cut(-1)
                self._note(frame, output if ends else None)
                if ends:
                    break
            if not self.frames:
                self.ended()
        return other

    def _cut(self, place: int) -> None:
        """Take the frames from a place on off the stack."""
        self.adapted -= sum(frame.reader is not None for frame in self.frames[place:])
        del self.frames[place:]

    def _note(self, frame: Frame, output: Any) -> None:
        name, attribute = type(frame.module).__name__, frame.path.rsplit(".", 1)[-1]
        if frame.rows and output is not None:
            expected = None if self._has_convolutions(frame.module) else _rows_out(frame, output)
            if expected is not None:
                share = self.shares.setdefault(frame.path, [0, 0])
                share[0] += min(frame.rows, expected)
                share[1] += expected
        if frame.captured:
            if self.frames:
                self.frames[-1].captured = True
            return
        if not (_attends(name) or (_attends(attribute) and any(frame.module.children()))) or PASSES_THROUGH.search(
            name
        ):
            return
        inside = any(f.captured and _attends(type(f.module).__name__) for f in self.frames)
        if not inside and any(True for _ in frame.module.parameters()):
            self.not_captured[frame.path] = name

    def _has_convolutions(self, module: nn.Module) -> bool:
        """Whether positions may lie on other axes of what a module puts out, so that their number is not known."""
        if id(module) not in self._convolving:
            names = [type(part).__name__ for part in module.modules()]
            self._convolving[id(module)] = any("Conv" in name and name != "Conv1D" for name in names)
        return self._convolving[id(module)]

    def path_of(self, frame: Frame) -> str:
        """Return the path of the module in which attention was captured."""
        self.seen(frame)
        return frame.path

    def seen(self, frame: Frame) -> None:
        """Mark a module as captured, so that neither it nor its parents are reported as missing."""
        frame.captured = True
        self.captured_paths.add(frame.path)

    def runs(self, frame: Frame) -> bool:
        """Return whether a module's forward is still running."""
        return any(frame is running for running in self.frames)

    def owner(self, module: nn.Module | None, within: tuple[Frame, ...] | None) -> Frame | None:
        """Return the frame of the attention module that makes the current call.

        Args:
            module: The module as the caller knows it; None takes the innermost running one.
            within: The frames that ran when the call began, where it began before: then the innermost one that they
                share with those that run now.
        """
        if within is not None:
            shared = [one for one, other in zip(within, self.frames, strict=False) if one is other]
            return shared[-1] if shared else None
        return next((f for f in reversed(self.frames) if module is None or f.module is module), None)

    def numbered(self, frame: Frame, rows: int) -> str:
        """Return the path of a module's call, with ``#2`` ... for repeated calls in one forward.

        Args:
            frame: The frame.
            rows: Query rows of the call; calls of fewer rows than positions entered are parts of one.
        """
        if not frame.covered or frame.entered is None or frame.covered + rows > frame.entered:
            self._runs[frame.path] += 1
            frame.covered = 0
        frame.covered += rows
        frame.rows += rows
        count = self._runs[frame.path]
        return frame.path if count <= 1 else f"{frame.path}#{count}"

    def heads_named(self, frame: Frame | None) -> int | None:
        """Return the number of heads that the innermost enclosing module states, or None."""
        if frame is None or not self.runs(frame):
            return None
        for around in reversed(self.frames[: self.frames.index(frame) + 1]):
            found = heads_of(around.module)
            if found is not None:
                return found
        return None

    def never_captured(self) -> dict[str, str]:
        """Return modules that look like attention and ran without a captured call, as module path to class name."""
        related = [path for path in (*self.captured_paths, *self.not_captured) if path]
        return {
            path: name
            for path, name in self.not_captured.items()
            if not any(other.startswith(path + ".") for other in related)  # what lies inside is what attends
            and not any(path == one or path.startswith(one + ".") for one in self.captured_paths if one)
        }


def heads_of(module: nn.Module) -> int | None:
    """Return the number of heads that a module states as an attribute, or None."""
    own, cls = vars(module), type(module)
    plain = cls.__getattr__ is nn.Module.__getattr__  # which looks among tensors and modules, and is slow to say no
    for name in HEAD_COUNTS:
        if not plain or name in own or hasattr(cls, name):
            found = getattr(module, name, None)
            if isinstance(found, int) and not isinstance(found, bool) and found > 0:
                return found
    return None


BESIDE = re.compile(r"mask|bias|pos|rel|rotary|alibi|emb$", re.IGNORECASE)
"""Names of arguments that are no representations of tokens."""


def _entering(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    given = kwargs.get("hidden_states")
    if given is None or not _is_stream(given):
        given = next((value for value in args if _is_stream(value)), None)
    if given is None and kwargs:
        given = next((v for name, v in kwargs.items() if _is_stream(v) and not BESIDE.search(name)), None)
    if given is None:
        return None
    position_first = isinstance(module, nn.MultiheadAttention) and not module.batch_first
    return given.transpose(0, 1) if position_first else given


def _is_stream(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 3 and value.is_floating_point()


def _entered(module: nn.Module, entering: Tensor | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """How many positions entered a module: of all sequences, or in one row (all images' patches)."""
    first = kwargs.get("hidden_states", args[0] if args else None)
    if isinstance(first, Tensor) and first.dim() == 2 and first.is_floating_point():
        return first.shape[0]
    return None if entering is None else entering.shape[0] * entering.shape[1]


def _rows_out(frame: Frame, output: Any) -> int | None:
    """How many rows a module with attention of its own should have asked: as many positions as it puts out.

    A module that pools positions puts out fewer than entered it.
    """
    if frame.entered is None:
        return None
    first = output[0] if isinstance(output, tuple | list) and output else output
    sizes = [frame.entered]
    if isinstance(first, Tensor) and first.dim() in (2, 3):
        sizes.append(math.prod(first.shape[: first.dim() - 1]))
    return min(sizes) or None


PLAIN = (bool, int, float, str)
DEEPEST = 3
"""How far into dictionaries, tuples and batch objects masks are looked for."""


@dataclass(slots=True)
class Handed:
    """Masks and token shapes found among a module's arguments.

    Attributes:
        masks: ``(batch, position)`` tensors whose name says mask, none that stands for another sequence, each with
            whether its name says that it marks padding.
        sequences: Shapes ``(batch, position)`` of the token ids and representations beside them.
        fresh: Whether token ids or an image came: what was handed to modules around says nothing of it.
    """

    masks: tuple[tuple[Tensor, bool], ...] = ()
    sequences: tuple[tuple[int, int], ...] = ()
    fresh: bool = False


NOTHING = Handed()
_names: dict[type, tuple[str, ...]] = {}


def handed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handed:
    """Search a module's arguments for masks and token ids.

    Args:
        module: The module.
        args: Positional arguments of its forward.
        kwargs: Keyword arguments.
    """
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and args[0].dim() == 3:
        return NOTHING
    masks: list[tuple[Tensor, bool]] = []
    sequences: list[tuple[int, int]] = []
    fresh = False
    for name, value in _named(module, args, kwargs):
        if not isinstance(value, Tensor) or "position" in name:
            continue
        if "mask" in name:
            if value.dim() == 2 and not any(word in name for word in ("encoder", "src", "source", "memory", "cross")):
                masks.append((value, "pad" in name))
        elif value.dim() == 2 and not value.is_floating_point():
            sequences.append((value.shape[0], value.shape[1]))
            fresh = True
        elif value.dim() == 3 and value.is_floating_point():
            sequences.append((value.shape[0], value.shape[1]))
            fresh = fresh or "embeds" in name
        elif any(word in name for word in ("pixel", "image", "video", "input_values", "input_features")):
            fresh = True
    return Handed(tuple(masks), tuple(sequences), fresh) if masks or fresh or sequences else NOTHING


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    names = _parameters(module) if args else ()
    for place, value in enumerate(args):
        if value is not None and not isinstance(value, PLAIN):
            yield from _inside(names[place] if place < len(names) else "", value, DEEPEST)
    for name, value in kwargs.items():
        if value is not None and not isinstance(value, PLAIN):
            yield from _inside(name, value, DEEPEST)


def _inside(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """A value, and what dictionaries, tuples and batch objects hold."""
    if value is None or isinstance(value, Tensor | str | int | float | nn.Module):
        yield name.lower(), value
        return
    if not depth or "past" in name or "cache" in name:
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _inside(str(key), entry, depth - 1)
    elif hasattr(value, "_fields"):
        for key in value._fields:
            yield from _inside(key, getattr(value, key), depth - 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _inside(entry.name, getattr(value, entry.name, None), depth - 1)
    elif isinstance(value, tuple | list) and len(value) <= 8:
        for entry in value:
            yield from _inside(name, entry, depth - 1)
    elif hasattr(value, "__dict__") and "attention_mask" in vars(value):
        for key, entry in vars(value).items():
            yield from _inside(key, entry, depth - 1)


def _parameters(module: nn.Module) -> tuple[str, ...]:
    cls = type(module)
    if cls not in _names:
        try:
            _names[cls] = tuple(inspect.signature(cls.forward).parameters)[1:]
        except (TypeError, ValueError):
            _names[cls] = ()
    return _names[cls]


PLAIN_PLACES = ("torch.nn.modules.", "transformers.activations")
"""Where layers are written of which none without children attends."""

LINEAR = ("transformers.pytorch_utils", "Conv1D")
"""GPT-2's linear map."""


def is_plain_leaf(module: nn.Module) -> bool:
    """Return whether a module is a layer without children and without attention, such as ``Linear``."""
    cls = type(module)
    return not module._modules and (cls.__module__.startswith(PLAIN_PLACES) or (cls.__module__, cls.__name__) == LINEAR)
