"""The way in through softmax, for modules that write their attention out: logits first, then their product with values.

Such modules hold the whole ``(query, key)`` array themselves, so the call may carry it: query and key are zero, and the
logits stand in the bias. What enters the softmax is the weights' origin whatever made it (ALiBi, relative positions,
disentangled attention); the product with the values that follows is the module's own output, by which it is verified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful.capture.growing import GrowingRows
from heedful.capture.hint import told
from heedful.capture.product import Product, product_of, same_storage
from heedful.capture.rules import MASKED_BELOW
from heedful.capture.stack import Frame
from heedful.capture.way import Way
from heedful.core.call import AttentionCall
from heedful.core.errors import UsageError
from heedful.core.visibility import Visibility

WAY = "softmax"

HIDDEN_BELOW = MASKED_BELOW / 2
"""Logits at or below this are of hidden keys: the mask was added to them, and they may have lifted it a little."""

HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
"""Attributes by which attention modules name their number of heads."""

SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
DROPOUT = (F.dropout, torch.dropout)


@dataclass
class _Pending:
    """Weights on their way from the softmax to the values.

    Attributes:
        frame: The attention module that runs.
        logits: ``(batch, head, query, key)``.
        weights: The softmax's result, or what dropout and changes of form have made of it.
        dropout: Probability with which weights were dropped meanwhile.
    """

    frame: Frame
    logits: Tensor
    weights: Tensor
    dropout: float = 0.0


class SoftmaxWatch:
    """What torch functions do between a softmax in an attention module and its product with values."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.pending: _Pending | None = None
        self.rows = GrowingRows()
        way.stack.leaving = self.left

    def passed(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one function; a softmax is remembered, and the product that follows it is met."""
        if self.pending is not None and not self.way.stack.runs(self.pending.frame):
            self.pending = None  # left behind by an interrupt
        if func in SOFTMAX:
            return self._softmax(func, args, kwargs)
        if self.pending is None or not args:
            return func(*args, **kwargs)
        product = product_of(func, args, kwargs, self.pending.weights, self.pending.logits)
        if product is not None:
            return self._multiply(product)
        result = func(*args, **kwargs)
        self._follow(func, args, kwargs, result)
        return result

    def left(self, frame: Frame, returned: bool) -> None:
        """A module's forward has ended: what is pending in it stays without a product; after an error it is dropped."""
        if self.pending is not None and self.pending.frame is frame:
            if returned:
                self.close()
            self.pending = None

    def close(self) -> None:
        """Meet weights whose product with values was never seen: their statistics are known, their output is not."""
        pending, self.pending = self.pending, None
        if pending is None:
            return
        if _heads_of(pending.frame) != pending.logits.shape[1]:
            shape = f"its softmax is of shape {tuple(pending.logits.shape)}"
            reason = f"{shape}, which is not known to be (batch, head, query, key), and no product with values was seen"
            self.way.not_understood.setdefault(pending.frame.path, reason)
            self.way.stack.seen(pending.frame)
            return

        def run(other: Tensor | None) -> Tensor:
            if other is not None:
                raise UsageError("the product of these weights with values was not seen; other values cannot be put in")
            return pending.weights

        module = pending.frame.module
        describe = partial(self._describe, pending, None)
        answer = self.way.meet(module, f"{WAY} alone", describe, run, pending.dropout)
        if answer is not None and answer is not pending.weights:
            path = pending.frame.path
            raise UsageError(f"replace: {path}: its softmax was seen and no product with values; it cannot be replaced")

    def _softmax(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        weights = func(*args, **kwargs)
        logits = args[0] if args else kwargs.get("input")
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        frame = self.way.stack.attending()
        if frame is None or frame.met_by not in (None, WAY) or not isinstance(logits, Tensor):
            return weights
        with torch._C.DisableTorchFunction():
            whole = _four(logits, frame) if dim in (-1, logits.dim() - 1) else None
        if whole is not None:
            self.close()
            self.pending = _Pending(frame, whole, weights)
        return weights

    def _follow(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Keep track of the weights through functions that keep their last two axes."""
        pending = self.pending
        if pending is None or not isinstance(result, Tensor) or not isinstance(args[0], Tensor):
            return
        with torch._C.DisableTorchFunction():
            before = pending.weights
            if not same_storage(args[0], before) or result.numel() != before.numel():
                return
            if result.shape[-2:] != before.shape[-2:] or result.stride()[-2:] != before.stride()[-2:]:
                return
        if func in DROPOUT and kwargs.get("training", args[2] if len(args) > 2 else True):
            pending.dropout = float(kwargs.get("p", args[1] if len(args) > 1 else 0.5))
        pending.weights = result

    def _multiply(self, product: Product) -> Tensor:
        pending, self.pending = self.pending, None
        if pending is None:
            return product.plain()
        given: dict[str, Tensor] = {}

        def run(other: Tensor | None) -> Tensor:
            with self.way.inside():
                given["result"] = product.plain() if other is None else product.times(other)
            given["output"] = product.standard(given["result"])
            return given["output"]

        describe = partial(self._describe, pending, product.value)
        answer = self.way.meet(pending.frame.module, WAY, describe, run, pending.dropout)
        if answer is None:
            return product.plain()
        return given["result"] if answer is given.get("output") else product.own(answer)

    def _describe(self, pending: _Pending, value: Tensor | None) -> AttentionCall:
        call = told()(_described(pending.logits, value))
        with torch._C.DisableTorchFunction():
            offset = self.rows.offset_of(pending.frame.path, call)
        if offset is None or call.n_queries == call.n_keys:
            return call
        return replace(call, visibility=replace(call.visibility, offset=offset))


def _heads_of(frame: Frame) -> int | None:
    """Number of heads as the module names it."""
    found = (getattr(frame.module, name, None) for name in HEAD_COUNTS)
    return next((heads for heads in found if isinstance(heads, int) and heads > 0), None)


def _four(logits: Tensor, frame: Frame) -> Tensor | None:
    """Logits as ``(batch, head, query, key)``; three axes hold batch and head in one where the module says how many."""
    if logits.dim() == 3:
        heads = _heads_of(frame)
        if heads is None or logits.shape[0] % heads:
            return None
        logits = logits.unflatten(0, (-1, heads))
    return logits if logits.dim() == 4 and logits.is_floating_point() and logits.numel() else None


def _described(logits: Tensor, value: Tensor | None) -> AttentionCall:
    batch, heads, queries, keys = logits.shape
    with torch._C.DisableTorchFunction():
        seen = ~(logits <= HIDDEN_BELOW)
        if heads > 1 and bool((seen == seen[:, :1]).all()):
            seen = seen[:, :1]
        return AttentionCall(
            query=logits.new_zeros(batch, heads, queries, 1),
            key=logits.new_zeros(batch, heads if value is None else value.shape[1], keys, 1),
            value=value,
            scale=1.0,
            visibility=Visibility(mask=seen),
            bias=logits.masked_fill(~seen, 0.0),
        )
