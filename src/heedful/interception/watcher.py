"""The ``TorchFunctionMode`` that sees attention built from torch functions; all such interceptors share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode

from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.interceptors.multihead import multi_head
from heedful.interception.interceptors.pair_values import TIMES
from heedful.interception.interceptors.sdpa import attend
from heedful.interception.interceptors.softmax import MULTIPLIED, SOFTMAX, SoftmaxRecorder

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
