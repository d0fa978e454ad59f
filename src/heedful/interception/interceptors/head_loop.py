"""Capture modules that compute one head after the other: the softmaxes ``(batch, query, key)`` become the heads of one
call.

A module that loops over its heads makes one product a head. They are gathered while it runs and become one call when
it ends, with heads in the order of the loop. A softmax that descends from the product of an earlier one is no further
head of it: it begins the next call. Where an answer changes the output, the module's forward runs again with the
products changed, because the module has gone on with its own meanwhile.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.errors import UsageError
from heedful.interception.lineage import Node
from heedful.interception.stack import Frame
from heedful.interception.weights import Softmax

if TYPE_CHECKING:
    from heedful.interception.interceptors.interceptor import Interceptor

_single: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Modules whose first run showed one head: their calls are answered at once."""


@dataclass(eq=False)
class HeadCall:
    """One head of a module that computes its heads one after the other.

    Attributes:
        softmax: Where its weights come from.
        call: The call of this one head.
        output: What the module's own product gives, ``(batch, 1, query, width)``; None where no product was seen.
        change: The product in the module's own layout, from the answer for this head.
        revalue: The product with other values ``(batch, 1, key, width)``.
        way: How it was captured.
        dropout: Probability with which weights are dropped.
        streams: Where query and key come from.
    """

    softmax: Softmax
    call: AttentionCall
    output: Tensor | None
    change: Callable[[Tensor], Tensor] | None
    revalue: Callable[[Tensor], Tensor] | None
    way: str
    dropout: float
    streams: tuple[Node | None, Node | None] = (None, None)


@dataclass(eq=False)
class HeadLoop:
    """State of a running module that computes one head after the other: the heads so far, and what replaces their
    outputs.

    Attributes:
        frame: The module's frame.
        heads: Heads of the call that is being gathered.
        given: Answers of the calls that were gathered before, one a head; None where the module's own stands.
        index: How many products have run.
        changed: Whether an answer is to be put in, so that what follows is not captured in this run.
        older: Nodes that were made before the latest product.
    """

    frame: Frame
    heads: list[HeadCall] = field(default_factory=list)
    given: list[Tensor | None] = field(default_factory=list)
    index: int = 0
    changed: bool = False
    older: set[int] = field(default_factory=set)


class HeadLoops:
    """Collects the heads of modules that compute one head after the other, and delivers them as whole calls."""

    def __init__(self, way: Interceptor) -> None:
        self.way = way
        self.running: dict[int, HeadLoop] = {}

    def open(self, frame: Frame) -> bool:
        """Return whether a module may compute one head after the other; it may not if an earlier run showed a single
        head.
        """
        return frame.module not in _single

    def takes(self, frame: Frame, call: AttentionCall) -> bool:
        """Return whether a call may be one head of a loop: it has one head and covers all rows that entered the
        module.
        """
        if call.heads != 1:
            return False
        rows = call.batch * call.n_queries
        return call.n_queries == call.n_keys if frame.entered is None else rows >= frame.entered

    def passes(self, frame: Frame) -> bool:
        """Return whether to skip the rest of this run, because a replacement makes the module run again."""
        loop = self.running.get(frame.number)
        return loop is not None and loop.changed

    def answer(self, frame: Frame) -> tuple[bool, Tensor | None]:
        """Return whether the next product is known from an earlier run of this forward, and what replaces it (None:
        nothing).
        """
        loop = self.running.get(frame.number)
        if loop is None or loop.index >= len(loop.given):
            return False, None
        loop.index += 1
        return True, loop.given[loop.index - 1]

    def add(self, frame: Frame, head: HeadCall) -> None:
        """Add a head to the module's current call; if the head begins a new call, deliver the finished call first."""
        loop = self.running.setdefault(frame.number, HeadLoop(frame))
        if loop.heads and not (_alike(loop.heads[0], head) and self._independent(loop, head)):
            self._deliver(loop)
        if loop.changed:
            return
        self._independent(loop, head)
        loop.heads.append(head)
        loop.index += 1

    def ended(self, frame: Frame, output: Any) -> Any:
        """Deliver the module's last call; return its output recomputed with the replacements, or None if its own
        output stands.
        """
        loop = self.running.get(frame.number)
        if loop is None:
            return None
        try:
            if output is None:
                return None
            self._deliver(loop)
            if len(loop.given) == 1 and not loop.changed:
                _single.add(frame.module)
            again = None
            while loop.changed:
                again = self._run_again(loop)
            return again
        finally:
            self.running.pop(frame.number, None)

    def _run_again(self, loop: HeadLoop) -> Any:
        args, kwargs = loop.frame.given
        loop.index, loop.changed, loop.heads, loop.older = 0, False, [], set()
        devices = sorted({p.device.index or 0 for p in loop.frame.module.parameters() if p.device.type == "cuda"})
        with torch._C._EnableTorchFunction(), torch.random.fork_rng(devices=devices):
            output = loop.frame.module.forward(*args, **kwargs)
        if loop.index < len(loop.given):
            path = loop.frame.path
            raise UsageError(
                f"replace: {path}: its heads ran in another order when it was run again; it cannot be replaced"
            )
        self._deliver(loop)
        return output

    def _independent(self, loop: HeadLoop, head: HeadCall) -> bool:
        """Whether the logits descend from no product of the heads gathered; nodes seen are not looked at again."""
        known = {id(one.softmax) for one in loop.heads}
        pending = [head.softmax.node]
        found: list[int] = []
        while pending:
            node = pending.pop()
            if id(node) in loop.older:
                continue
            if node.softmax is not None and id(node.softmax) in known and node.softmax is not head.softmax:
                return False
            found.append(id(node))
            loop.older.add(id(node))
            pending.extend(node.parents)
        return True

    def _deliver(self, loop: HeadLoop) -> None:
        heads, loop.heads, loop.older = loop.heads, [], set()
        if not heads:
            return
        own: list[Tensor] = []

        def run(other: Tensor | None) -> Tensor:
            if other is None:
                if not own:
                    own.append(_stacked(heads))
                return own[0]
            if heads[0].revalue is None:
                raise UsageError("the product of these weights with values was not seen; other values cannot be put in")
            parts = []
            for place, head in enumerate(heads):
                one = other[:, place : place + 1]
                narrow = one if one.shape[-1] != _width(heads) else one[..., : _of(head)]
                parts.append(_wide(head.revalue(narrow), other.shape[-1]))  # type: ignore[misc]
            return torch.cat(parts, 1)

        first = heads[0]
        answer = self.way.meet(
            None,
            first.way,
            lambda: _joined(heads),
            run,
            max(head.dropout for head in heads),
            streams=first.streams,
            within=first.softmax.frames,
        )
        loop.given.extend(None for _ in heads)
        if answer is None or (own and answer is own[0]):
            return
        if first.change is None:
            message = "its softmax was seen and no product with values; it cannot be replaced"
            raise UsageError(f"replace: {loop.frame.path}: {message}")
        loop.given[-len(heads) :] = [answer[:, place : place + 1, :, : _of(head)] for place, head in enumerate(heads)]
        loop.changed = True


def _alike(one: HeadCall, other: HeadCall) -> bool:
    """Whether two heads have the same sequences, queries and keys, and both or neither have values."""
    same = one.call.bias.shape == other.call.bias.shape  # type: ignore[union-attr]
    return same and (one.call.value is None) == (other.call.value is None) and one.way == other.way


def _of(head: HeadCall) -> int:
    return 0 if head.output is None else head.output.shape[-1]


def _width(heads: list[HeadCall]) -> int:
    return max(_of(head) for head in heads)


def _wide(tensor: Tensor, width: int) -> Tensor:
    return tensor if tensor.shape[-1] == width else nn.functional.pad(tensor, (0, width - tensor.shape[-1]))


def _stacked(heads: list[HeadCall]) -> Tensor:
    """``(batch, head, query, width)``; the values of narrower heads end in zeros. Without values: the weights."""
    if heads[0].output is None:
        return torch.cat([torch.softmax(head.softmax.logits, -1)[:, None] for head in heads], 1)
    return torch.cat([_wide(head.output, _width(heads)) for head in heads], 1)  # type: ignore[arg-type]


def _joined(heads: list[HeadCall]) -> AttentionCall:
    """One call of all heads."""
    first = heads[0].call
    masks = [head.call.visibility.mask for head in heads]
    visibility = first.visibility
    if any(mask is not None for mask in masks):
        shape = (*first.query.shape[:2], first.n_queries, first.n_keys)
        every = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=first.query.device)
        there = [every if mask is None else mask for mask in masks]
        if all(mask.shape == there[0].shape and torch.equal(mask, there[0]) for mask in there):
            visibility = replace(visibility, mask=there[0])
        else:
            visibility = replace(visibility, mask=torch.cat([mask.expand(shape) for mask in there], 1))
    value = None
    if first.value is not None:
        width = max(head.call.value.shape[-1] for head in heads)  # type: ignore[union-attr]
        value = torch.cat([_wide(head.call.value, width) for head in heads], 1)  # type: ignore[arg-type]
    return replace(
        first,
        query=torch.cat([head.call.query for head in heads], 1),
        key=torch.cat([head.call.key for head in heads], 1),
        value=value,
        visibility=visibility,
        bias=torch.cat([head.call.bias for head in heads], 1),  # type: ignore[misc]
    )
