"""Intercept every attention call of a model; capture and replacement both use this."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from heedful.errors import UsageError
from heedful.interception.copies import unhooked_copies
from heedful.interception.event import Answer
from heedful.interception.held_heads import refuse_unknown_division
from heedful.interception.interceptors.huggingface import attention_table
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.stack import ModuleStack
from heedful.interception.uncompiled import uncompiled
from heedful.interception.watcher import FunctionWatcher

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
