"""Intercept every attention call of a model; capture and replacement both use this.

Keep heedful's hooks out of copies of a hooked model (``deepcopy``, pickle, ``torch.save``).

Python asks an object for its state when it copies or pickles it. While a model is hooked into, modules answer with a
state without the hooks of heedful; those of the user go along, as ever.

The ``TorchFunctionMode`` that sees attention built from torch functions; all such interceptors share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode

from heedful.errors import UsageError
from heedful.interception.event import Answer
from heedful.interception.held_heads import refuse_unknown_division
from heedful.interception.interceptors.huggingface import attention_table
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.interceptors.pair_values import TIMES
from heedful.interception.interceptors.sdpa import attend, multi_head
from heedful.interception.interceptors.softmax import MULTIPLIED, SOFTMAX, SoftmaxRecorder
from heedful.interception.stack import ModuleStack
from heedful.interception.uncompiled import uncompiled

_holders: dict[int, tuple[int, int]] = {}
_lock = threading.Lock()


@contextmanager
def intercept(model: nn.Module, answer: Answer) -> Iterator[Interceptor]:
    """Return a context that calls ``answer`` for every attention call of the model in this thread.

    Hooks, table entries and modes are gone afterwards, also after an error; parameters, flags and random state are
    never touched. Compiled models run eagerly meanwhile.

    Args:
        model: Any module; transformers models are met at their attention table, others at
            ``scaled_dot_product_attention``, ``nn.MultiheadAttention`` or the softmax of their logits.
        answer: What is done with each event.

    Raises:
        UsageError: Another thread is capturing this model, or its heads are divided over processes and nothing
            says how.
    """
    refuse_unknown_division(model)
    with _only_thread(model), uncompiled(), unhooked_copies(), ModuleStack(model) as stack:
        way = Interceptor(stack, answer)
        with attention_table(way), FunctionWatcher(way):
            yield way


def refuse_no_module(asked: str, model: object) -> None:
    """Raise an error if an argument is not a torch module.

    Args:
        asked: The function that was called, for the message.
        model: What was given as a model.

    Raises:
        UsageError: It is no ``torch.nn.Module``.
    """
    if isinstance(model, nn.Module):
        return
    got = f"the class {model.__name__} (build it first)" if isinstance(model, type) else type(model).__name__
    inside = isinstance(getattr(model, "model", None), nn.Module)
    fix = " (give its .model)" if inside else ""
    raise UsageError(f"{asked}: expected a torch module, got {got}{fix}")


def unwatched() -> AbstractContextManager[None]:
    """Return a context in which function modes don't see operations, for computing statistics."""
    return torch._C.DisableTorchFunction()  # type: ignore[no-any-return]


@contextmanager
def _only_thread(model: nn.Module) -> Iterator[None]:
    me = threading.get_ident()
    with _lock:
        thread, depth = _holders.get(id(model), (me, 0))
        if thread != me:
            raise UsageError(
                "capture: another thread is capturing this model; give each thread its own copy, or take turns"
            )
        _holders[id(model)] = (me, depth + 1)
    try:
        yield
    finally:
        with _lock:
            thread, depth = _holders[id(model)]
            if depth == 1:
                del _holders[id(model)]
            else:
                _holders[id(model)] = (thread, depth - 1)


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_BESIDE = (
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
"""Tables that say of some hooks, by the same number, how they are called."""

_held: list[Any] = []
_OWN = "__getstate__"


@contextmanager
def unhooked_copies() -> Iterator[None]:
    """Return a context in which copies and pickles of modules contain no heedful hooks."""
    with _lock:
        if not _held:
            _held.append(vars(nn.Module).get(_OWN))
            setattr(nn.Module, _OWN, _state)
        _held.append(None)
    try:
        yield
    finally:
        with _lock:
            _held.pop()
            if len(_held) == 1:
                before = _held.pop()
                if before is None:
                    delattr(nn.Module, _OWN)
                else:
                    setattr(nn.Module, _OWN, before)


def _state(module: nn.Module) -> Any:
    """The state of a module without hooks of heedful; all else is as Python or the module's class gives it."""
    before = _held[0] if _held else None
    state = object.__getstate__(module) if before is None else before(module)
    table = state[0] if isinstance(state, tuple) else state  # a class with slots gives both
    if not isinstance(table, dict) or not any(
        _is_own(hook) for name in _HOOKS for hook in table.get(name, {}).values()
    ):
        return state
    table = dict(table)
    for name in _HOOKS:
        hooks = table.get(name)
        own = {number for number, hook in (hooks or {}).items() if _is_own(hook)}
        for each in (name, *(_BESIDE if own else ())):
            known = table.get(each)
            if isinstance(known, dict) and own & known.keys():
                kept = [(number, value) for number, value in known.items() if number not in own]
                table[each] = type(known)(kept)
    return (table, *state[1:]) if isinstance(state, tuple) else table


def _is_own(hook: Any) -> bool:
    inner = getattr(hook, "func", hook)
    return str(getattr(inner, "__module__", None) or type(inner).__module__).startswith("heedful.")


NONE: dict[str, Any] = {}
"""Keyword arguments of the many functions that come with none."""

_modes = torch._C._len_torch_function_stack

ATTENDING = MULTIPLIED | {
    getattr(func, "__name__", "") for func in (*SOFTMAX, F.scaled_dot_product_attention, F.multi_head_attention_forward)
}
"""Names of all functions that are more than passed on."""

TRANSPOSES = frozenset(("T", "mT", "H", "mH"))
"""Properties of tensors that are other forms of them; all others are passed by."""


class FunctionWatcher(TorchFunctionMode):
    """Sees every torch function that the model calls in this thread, except in calls that the attention table
    captured.
    """

    def __init__(self, way: Interceptor) -> None:
        super().__init__()
        self.way = way
        self.softmax = SoftmaxRecorder(way)

    def __exit__(self, *error: object) -> None:
        """Leave; watchers that were entered since, by another task of this thread, stay."""
        above = []
        while (mode := _pop_mode()) is not self:
            above.append(mode)
        for mode in reversed(above):
            _push_mode(mode)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer one call, or let it pass."""
        if kwargs is None:
            kwargs = NONE
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", "")
            if name not in TRANSPOSES:
                return func(*args, **kwargs)
        if name in PASSED or not self.way.concerns(None):
            return func(*args, **kwargs)
        if name in ATTENDING or (name in TIMES and self.softmax.pending):
            if func in SOFTMAX:
                return self.softmax.begins(func, args, kwargs)
            result = self._answered(name, func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if type(result) is Tensor and not types and not _modes():  # nobody who would see what is asked of tensors
            self.way.lineage.record(name, args, kwargs, result)
        else:
            with torch._C.DisableTorchFunction():
                self.way.lineage.record(name, args, kwargs, result)
        return result

    def _answered(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a function gives that may be attention, or its product with values."""
        if func is F.scaled_dot_product_attention:
            return attend(self.way, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            return multi_head(self.way, func, args, kwargs)
        if (name in MULTIPLIED or name in TIMES) and self.softmax.pending:
            return self.softmax.multiplies(name, func, args, kwargs)
        return func(*args, **kwargs)


PASSED = frozenset(
    [
        "__set__",
        "size",
        "dim",
        "stride",
        "numel",
        "item",
        "tolist",
        "is_floating_point",
        "data_ptr",
        "__len__",
        "__bool__",
        "nelement",
    ]
)
"""Functions that ask something of a tensor."""
