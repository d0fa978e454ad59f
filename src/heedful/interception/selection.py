"""Select the layers, heads and forwards of a model to measure.

Parse a user's choice of layers and heads: one, several, or heads for each layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heedful.attention.call import AttentionCall
from heedful.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Layers, heads and forwards to measure; everything by default.

    Attributes:
        layers: Layers by index, in the order in which the model first calls them, or by module path: one or several;
            None for all.
        heads: Query heads by index, one or several, or layer to its heads; None for all.
        every: Measure the first forward of the model and every so many after it.

    Raises:
        UsageError: ``every`` is less than 1, or layers or heads are an empty list, or name no layer or head.
    """

    layers: Layers | None = None
    heads: Heads | None = None
    every: int = 1
    named: NamedParts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int):
            raise UsageError(f"every: expected a whole number from 1 up, got {self.every!r:.60}")
        if self.every < 1:
            raise UsageError(f"every: expected at least 1, got {self.every}")
        object.__setattr__(self, "named", named_parts(self.layers, self.heads))

    def takes_layer(self, path: str, index: int) -> bool:
        """Return whether a layer is selected."""
        layers = self.named.layers
        return layers is None or index in layers or path in layers or path.split("#")[0] in layers

    def takes_forward(self, count: int) -> bool:
        """Return whether forward number ``count``, from 1, is selected."""
        return (count - 1) % self.every == 0

    def heads_of(self, path: str, layer: int, call: AttentionCall) -> tuple[int, ...]:
        """Return the selected heads of a call.

        Raises:
            UsageError: The call has no such head.
        """
        heads = self.named.heads_of(path, layer)
        if heads is None:
            return tuple(range(call.heads))
        wrong = [head for head in heads if not 0 <= head < call.heads]
        if wrong:
            raise UsageError(f"capture: {path} has heads 0..{call.heads - 1}, got {wrong}")
        return heads

    def check_layers(self, order: dict[str, int]) -> None:
        """Raise an error if a selected layer was never called.

        Args:
            order: Path of every attention module that was met to its index; empty where the model was never run.

        Raises:
            UsageError: A wanted layer is not among them.
        """
        known = {*order, *order.values()}
        wanted = [
            (layer, layer.split("#")[0] if isinstance(layer, str) else layer) for layer in self.named.layers or ()
        ]
        missing = [layer for layer, module in wanted if module not in known]
        if missing and order:
            raise UsageError(
                f"capture: no such layers: {missing}; the model called {len(order)}: {', '.join(list(order)[:4])} ..."
            )


def only_heads(call: AttentionCall, heads: Sequence[int]) -> AttentionCall:
    """Return the call restricted to some query heads and their key heads.

    Args:
        call: The call.
        heads: Query heads by index, in the order wanted.
    """
    if len(heads) == call.heads and all(head == place for place, head in enumerate(heads)):
        return call
    chosen = list(heads)
    read = [head // (call.heads // call.kv_heads) for head in chosen]
    mask, bias = call.visibility.mask, call.bias
    if mask is not None and mask.shape[1] > 1:
        mask = mask[:, chosen]
    if bias is not None and bias.shape[1] > 1:
        bias = bias[:, chosen]
    return replace(
        call,
        query=call.query[:, chosen],
        key=call.key[:, read],
        value=None if call.value is None else call.value[:, read],
        visibility=replace(call.visibility, mask=mask),
        bias=bias,
        sink=None if call.sink is None else call.sink[chosen],
    )


Layers = int | str | Iterable[int | str]
"""One layer or several, by index in the order in which the model first calls them, or by module path."""

Heads = int | Iterable[int] | Mapping[int | str, int | Iterable[int]]
"""One query head or several, the same in every layer; or layer to its heads."""

LAYERS = "expected an index, a module path, or a list of them"
HEADS = "expected an index, a list of them, or {layer: [heads]}"


@dataclass(frozen=True)
class NamedParts:
    """Layers and heads chosen by the user.

    Attributes:
        layers: By index or path; None for all.
        heads: Query heads of every layer; None for all, or where ``by_layer`` says.
        by_layer: Layer to its heads; None where heads do not differ.
    """

    layers: tuple[int | str, ...] | None = None
    heads: tuple[int, ...] | None = None
    by_layer: Mapping[int | str, tuple[int, ...]] | None = None

    def heads_of(self, path: str, layer: int) -> tuple[int, ...] | None:
        """Return the chosen heads of one layer; None for all.

        Args:
            path: Module path of the layer, whose further calls end in ``#2`` ....
            layer: Its index.
        """
        if self.by_layer is None:
            return self.heads
        found = [self.by_layer[name] for name in (path, path.split("#")[0], layer) if name in self.by_layer]
        return tuple(dict.fromkeys(head for heads in found for head in heads)) if found else None


def named_parts(layers: Any, heads: Any) -> NamedParts:
    """Parse a user's choice of layers and heads.

    Args:
        layers: See ``Layers``; None for all.
        heads: See ``Heads``; None for all.

    Returns:
        The same, each in one form. Heads that are named layer by layer name the layers too.

    Raises:
        UsageError: Nothing is named, something else is, or layers are named twice.

    Example:
        >>> named_parts(1, None).layers
        (1,)
        >>> named_parts(None, {0: [2, 3]}).layers
        (0,)
    """
    if not isinstance(heads, Mapping):
        return NamedParts(_listed("layers", layers, LAYERS, int | str), _listed("heads", heads, HEADS, int))
    if layers is not None:
        raise UsageError(f"layers: expected none together with heads by layer, got {layers!r:.60} (leave layers out)")
    if not heads:
        raise UsageError(f"heads: {HEADS}; got {{}}")
    named = _listed("layers", list(heads), "heads by layer: " + LAYERS, int | str)
    by_layer = {
        layer: _listed(f"heads[{layer!r}]", value, "expected an index or a list of them", int) or ()
        for layer, value in zip(named or (), heads.values(), strict=True)
    }
    return NamedParts(layers=named, by_layer=by_layer)


def _listed(name: str, given: Any, expected: str, wanted: Any) -> Any:
    if given is None:
        return None
    given = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(given, bool) or not isinstance(given, wanted | Iterable):
        raise UsageError(f"{name}: {expected}; got {given!r:.60}")
    every = [given] if isinstance(given, wanted | str) else list(given)
    found = [_whole(one) for one in every]
    wrong = [one for one in found if isinstance(one, bool) or not isinstance(one, wanted)]
    if wrong:
        raise UsageError(f"{name}: {expected}; got {wrong[0]!r:.60}")
    if not found:
        raise UsageError(f"{name}: expected at least one, or None for all; got {given!r:.60}")
    return tuple(found)


def _whole(one: Any) -> Any:
    """A whole number of numpy or torch as one of Python."""
    return one.item() if hasattr(one, "item") and not isinstance(one, str) else one
