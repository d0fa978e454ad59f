"""Keep heedful's hooks out of copies of a hooked model (``deepcopy``, pickle, ``torch.save``).

Python asks an object for its state when it copies or pickles it. While a model is hooked into, modules answer with a
state without the hooks of heedful; those of the user go along, as ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_BESIDE = (
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
"""Tables that say of some hooks, by the same number, how they are called."""

_lock = threading.Lock()
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
