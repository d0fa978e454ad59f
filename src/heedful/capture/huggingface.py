"""The way in through transformers' attention-function table: the active entries, wrapped in place."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from heedful.capture.rules import table_rules
from heedful.capture.way import Way
from heedful.core.call import AttentionCall
from heedful.core.errors import HeedfulError

log = logging.getLogger(__name__)


def _eager_of(module: nn.Module) -> Callable[..., Any]:
    """The ``eager_attention_forward`` of the file in which the module's class, or a parent of it, is written."""
    for cls in type(module).__mro__:
        function = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    raise HeedfulError(f"{type(module).__name__}: no eager attention function found in its modeling file")


@contextmanager
def attention_table(way: Way) -> Iterator[None]:
    """Wrap every entry of the table, and of modeling files' own tables, for the modules of one model.

    Modules of other models pass through untouched. Entries are restored as they were, also after an error.
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
    before = [dict(table) for table in tables]
    try:
        for index, table in enumerate(tables):
            for name in list(table) + (["eager"] if index == 0 and "eager" not in table else []):
                table[name] = _wrapped(way, name, table.get(name))
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)


def _wrapped(way: Way, name: str, original: Callable[..., Any] | None) -> Callable[..., Any]:
    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, *args: Any, **keywords: Any
    ) -> Any:
        kernel = original if original is not None else _eager_of(module)
        if not way.concerns(module) or args:
            return kernel(module, query, key, value, attention_mask, *args, **keywords)
        own_weights: list[Any] = []

        def run(other: Tensor | None) -> Tensor:
            with way.inside():
                result = kernel(module, query, key, value if other is None else other, attention_mask, **keywords)
            own_weights[:] = result[1:]
            return result[0].transpose(1, 2)  # type: ignore[no-any-return]

        describe = _describe(name, module, query, key, value, attention_mask, keywords)
        answer = way.meet(module, f"attention table: {name}", describe, run, float(keywords.get("dropout") or 0.0))
        if answer is None:
            output = run(None)
            return (output.transpose(1, 2), *own_weights)
        return answer.to(query.dtype).transpose(1, 2).contiguous(), None

    return attention


def _describe(
    name: str, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, keywords: dict[str, Any]
) -> Callable[[], AttentionCall]:
    def describe() -> AttentionCall:
        if keywords.get("cache") is not None:
            raise HeedfulError("a paged cache is updated inside the attention function; continuous batching is not supported")
        visibility, bias = table_rules(name, module, query, key, mask, keywords)
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
