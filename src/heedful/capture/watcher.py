"""The function mode that sees what plain modules call: one mode for every way in that is a torch function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from heedful.capture.multihead import multi_head
from heedful.capture.sdpa import attend
from heedful.capture.softmax import SoftmaxWatch
from heedful.capture.way import Way


class FunctionWatcher(TorchFunctionMode):
    """Sees every torch function of this thread that runs in the model and that the attention table has not met."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way
        self.softmax = SoftmaxWatch(way)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer one call, or let it pass."""
        kwargs = kwargs or {}
        if not self.way.concerns(None):
            return func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return attend(self.way, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            return multi_head(self.way, func, args, kwargs)
        return self.softmax.passed(func, args, kwargs)
