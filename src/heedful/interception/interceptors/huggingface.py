"""Interceptor for transformers' table of attention functions: entries are wrapped in place."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.errors import HeedfulError
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.lineage import Lineage, Node
from heedful.interception.rules import table_rules

_lock = threading.Lock()


def _eager_of(module: nn.Module) -> Callable[..., Any]:
    """The eager attention function that the module's own forward names, or that of its modeling file or a parent's."""
    for cls in type(module).__mro__:
        forward = inspect.unwrap(vars(cls).get("forward", lambda: None))
        for name in getattr(getattr(forward, "__code__", None), "co_names", ()):
            if name.endswith("eager_attention_forward") and name in forward.__globals__:
                return forward.__globals__[name]  # type: ignore[no-any-return]
    for cls in type(module).__mro__:
        function = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    raise HeedfulError(f"{type(module).__name__}: no eager attention function found in its modeling file")


@contextmanager
def attention_table(way: Interceptor) -> Iterator[None]:
    """Return a context that wraps every entry of transformers' attention table for the modules of one model.

    Modules of other models pass through untouched. Entries are restored as they were, also after an error; where
    several interceptions overlap without nesting (threads), each takes away its own wrappers alone.
    """
    modeling = sys.modules.get("transformers.modeling_utils")
    if modeling is None:
        yield
        return
    tables = [modeling.AttentionInterface._global_mapping]
    for module in way.stack.model.modules():
        own = getattr(sys.modules.get(type(module).__module__), "ALL_ATTENTION_FUNCTIONS", None)
        local = getattr(own, "_local_mapping", None)
        if local and all(local is not table for table in tables):
            tables.append(local)
    try:
        with _lock:
            for index, table in enumerate(tables):
                for name in list(table) + (["eager"] if index == 0 and "eager" not in table else []):
                    table[name] = _Watched(way, name, table.get(name))
        yield
    finally:
        way.closed = True
        with _lock:
            for table in tables:
                _uncover(table)


def _uncover(table: dict[str, Callable[..., Any]]) -> None:
    """Take wrappers of closed interceptions off the top of every entry."""
    for name, function in list(table.items()):
        top: Callable[..., Any] | None = function
        while isinstance(top, _Watched) and top.way.closed:
            top = top.below
        if top is None:
            del table[name]
        elif top is not function:
            table[name] = top


class _Watched:
    """An entry of the table while a model is intercepted; ``below`` is what stood there, None where nothing did."""

    def __init__(self, way: Interceptor, name: str, below: Callable[..., Any] | None) -> None:
        self.way, self.name, self.below = way, name, below

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any = None,
        *args: Any,
        **keywords: Any,
    ) -> Any:
        kernel = self.below if self.below is not None else _eager_of(module)
        if not self.way.concerns(module) or args:
            return kernel(module, query, key, value, attention_mask, *args, **keywords)
        given: dict[str, Any] = {}

        def run(other: Tensor | None) -> Tensor:
            with self.way.inside():
                given["result"] = kernel(
                    module, query, key, value if other is None else other, attention_mask, **keywords
                )
            given["output"] = given["result"][0].transpose(1, 2)
            return given["output"]  # type: ignore[no-any-return]

        lineage = self.way.lineage
        describe = _describe(self.name, module, query, key, value, attention_mask, keywords, lineage)
        dropout = float(keywords.get("dropout") or 0.0)
        streams = lineage.of(query), lineage.of(key)
        answer = self.way.meet(module, f"attention table: {self.name}", describe, run, dropout, streams=streams)
        if answer is None:
            run(None)
        elif answer is not given.get("output"):
            given["result"] = answer.to(query.dtype).transpose(1, 2).contiguous(), None
        output = given["result"][0]
        if isinstance(output, Tensor):
            with torch._C.DisableTorchFunction():
                lineage.put(output, Node("attended", shape=tuple(output.shape), content=True))
        return given["result"]


def _describe(
    name: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    keywords: dict[str, Any],
    lineage: Lineage,
) -> Callable[[], AttentionCall]:
    def describe() -> AttentionCall:
        if keywords.get("cache") is not None:
            raise HeedfulError(
                "a paged cache is updated inside the attention function; continuous batching is not supported"
            )
        visibility, bias = table_rules(name, module, query, key, mask, keywords, lineage)
        scale = keywords.get("scaling")
        if scale is None:
            scale = query.shape[-1] ** -0.5
        return AttentionCall(
            query=query,
            key=key,
            value=value,
            scale=float(scale),
            visibility=visibility,
            bias=bias,
            softcap=keywords.get("softcap"),
            sink=keywords.get("s_aux"),
        )

    return describe
