"""Replace the learned attention pattern while a block of code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.patterns import PATTERNS, pattern_output
from heedful.attention.visibility import tensor_of
from heedful.errors import CaptureError, UsageError
from heedful.interception.adapter import Adapter, reading_with
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, refuse_no_module
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.selection import Heads, Layers, named_parts


class Replacements(dict[str, int]):
    """Number of replaced calls by module path.

    Attributes:
        left: Path to reason of attention that ran and was left as it is though no layers were named.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[str, str] = {}


class EventPattern:
    """A replacement pattern computed from the module and path of a call too, not only from its tensors."""

    def output(self, event: AttentionEvent) -> Tensor | None:
        """Return the output ``(batch, head, query, value_dim)``; None selects the pattern ``mean``, the mean weights
        of the batch's other sequences.

        Args:
            event: The call, its module and its path.

        Raises:
            NotImplementedError: It is not given.
        """
        raise NotImplementedError


Pattern = str | Tensor | np.ndarray | EventPattern | Callable[[AttentionCall], Tensor]


@contextmanager
def replace(
    model: nn.Module,
    pattern: Pattern,
    *,
    layers: Layers | None = None,
    heads: Heads | None = None,
    adapter: Adapter | None = None,
) -> Iterator[Replacements]:
    """Return a context in which attention of some layers and heads is replaced by another pattern.

    Args:
        model: Any module whose attention heedful can meet.
        pattern: ``uniform``, ``local``, ``mean``, ``shuffled`` or ``zero`` (see ``engines.patterns.PATTERNS``); weights
            as a float tensor or numpy array that broadcasts to ``(batch, head, query, key)``, used as they are, neither
            masked nor normalised; or a function from an ``AttentionCall`` to its new output
            ``(batch, head, query, value_dim)``.
        layers: Layers by index, in the order in which the model first calls them, or by module path: one or several;
            None for all.
        heads: Query heads by index, one or several, the same in every layer; or ``{layer: [heads]}``; None for all.
        adapter: Reads attention from what modules return (``heedful.interception.adapter``).

    Yields:
        Module path to number of calls replaced, filled while the model runs; its ``left`` lists, once the block has
        ended, modules that look like attention, ran, and showed no call.

    Raises:
        UsageError: The model is no module; the pattern, a layer or a head does not exist (a layer only once the block
            has ended without error), or a pattern of one's own has another shape.
        CaptureError: The model ran and none of its attention was captured, or a call of a wanted layer could not be
            understood, so that the model ran with it as it is.

    Example:
        >>> import heedful, torch
        >>> model = heedful.load_model().model
        >>> with heedful.replace(model, "uniform", heads={0: [2, 3], 1: [0]}) as replaced:
        ...     _ = model(torch.arange(5, 13)[None])
        >>> dict(replaced)
        {'model.layers.0.self_attn': 1, 'model.layers.1.self_attn': 1}
    """
    refuse_no_module("replace", model)
    given = _pattern(pattern)
    named = named_parts(layers, heads)
    order: dict[str, int] = {}
    replaced = Replacements()

    def answer(event: AttentionEvent) -> Tensor | None:
        path = event.path.split("#")[0]
        index = order.setdefault(path, len(order))
        if named.layers is not None and index not in named.layers and path not in named.layers:
            return None
        replaced[path] = replaced.get(path, 0) + 1
        return _replaced(event, given, named.heads_of(path, index))

    with reading_with(adapter), intercept(model, answer) as way:
        yield replaced
    _check_all(type(model).__name__, way, order, named.layers, replaced)


def _pattern(pattern: Any) -> str | EventPattern | Callable[[AttentionCall], Tensor]:
    """A name or a function; weights become a function that applies them."""
    if isinstance(pattern, EventPattern) or (isinstance(pattern, str) and pattern in PATTERNS):
        return pattern
    known = f"replace: expected one of {', '.join(PATTERNS)}, a tensor of weights, or a function"
    if isinstance(pattern, Tensor | np.ndarray | list):
        weights = tensor_of("replace: pattern", pattern)
        if not weights.is_floating_point():
            message = f"replace: expected weights as a float tensor, got {weights.dtype}"
            raise UsageError(f"{message} (of a mask: mask / mask.sum(-1, keepdim=True) weighs its keys alike)")
        return lambda call: _weighed(call, weights)
    if isinstance(pattern, str | type) or not callable(pattern):
        raise UsageError(f"{known}; got {pattern!r:.60}")
    return pattern


def _weighed(call: AttentionCall, weights: Tensor) -> Tensor:
    """Output of a call under these weights."""
    full = (call.batch, call.heads, call.n_queries, call.n_keys)
    try:
        fits = tuple(torch.broadcast_shapes(tuple(weights.shape), full)) == full
    except RuntimeError:
        fits = False
    if not fits or call.value is None:
        message = f"expected weights that broadcast to (batch, head, query, key) = {full}"
        raise UsageError(f"replace: {message}, got shape {tuple(weights.shape)}")
    value = call.value.repeat_interleave(call.heads // call.kv_heads, dim=1)
    return weights.to(value.device, value.dtype).expand(full) @ value


def _check_all(
    name: str,
    way: Interceptor,
    order: dict[str, int],
    layers: tuple[int | str, ...] | None,
    replaced: Replacements,
) -> None:
    """Complain of what should have been replaced and was not."""
    not_captured = {path: why for path, why in way.not_captured().items() if path not in way.not_understood}
    if not order and (not_captured or way.not_understood):
        left = list({**not_captured, **way.not_understood})
        raise CaptureError(name, f"replace: no attention call was captured in {', '.join(left[:4])} ...")
    refused = {path.split("#")[0]: why for path, why in way.not_understood.items()}
    wanted = [path for path in refused if layers is None or path in layers]
    if wanted:
        message = f"replace: {len(wanted)} modules ran as they are: {wanted[0]}: {refused[wanted[0]]}"
        raise CaptureError(name, message, f"name the layers that can be replaced: {', '.join(list(order)[:4])} ...")
    known = {*order, *order.values()}
    missing = [layer for layer in layers or () if layer not in known]
    if missing and order:
        raise UsageError(
            f"replace: no such layers: {missing}; the model called {len(order)}: {', '.join(list(order)[:4])} ..."
        )
    if layers is None:
        replaced.left.update(not_captured)


def _replaced(
    event: AttentionEvent,
    pattern: str | EventPattern | Callable[[AttentionCall], Tensor],
    heads: tuple[int, ...] | None,
) -> Tensor:
    call, part = event.call, event.part
    if call.value is None:
        raise UsageError(f"replace: {event.path}: its softmax was seen and no product with values; name other layers")
    total = call.heads if part is None else call.heads * part.count
    chosen = list(range(total) if heads is None else heads)
    wrong = [head for head in chosen if not 0 <= head < total]
    if wrong:
        raise UsageError(f"replace: {event.path} has heads 0..{total - 1}, got {wrong}")
    if isinstance(pattern, EventPattern):
        known = pattern.output(event)
        output = pattern_output(call, "mean") if known is None else known
    else:
        output = pattern_output(call, pattern) if isinstance(pattern, str) else _own_output(event, pattern)
    if heads is None:
        return output
    here = chosen if part is None else part.own_heads(chosen, call.heads)
    mixed = event.run(None).clone()
    mixed[:, here] = output[:, here].to(mixed.dtype)
    return mixed


def _own_output(event: AttentionEvent, pattern: Callable[[AttentionCall], Tensor]) -> Tensor:
    """What a function of the user's gives for the heads of this process; it is shown those of all processes."""
    part = event.part
    call = event.call if part is None else part.whole(event.call)
    with torch._C._EnableTorchFunction():  # a function of the user's is run as the user's
        output = pattern(call)
    expected = (*call.query.shape[:3], -1 if call.value is None else call.value.shape[-1])
    if not isinstance(output, Tensor):
        raise UsageError(f"replace: expected the pattern to return a tensor {expected}, got {type(output).__name__}")
    if output.shape != expected:
        raise UsageError(f"replace: expected the pattern to return shape {expected}, got {tuple(output.shape)}")
    return output if part is None else part.own(output)
