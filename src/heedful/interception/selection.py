"""Select the layers, heads and forwards of a model to measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from heedful.attention.call import AttentionCall
from heedful.errors import UsageError
from heedful.interception.named_parts import Heads, Layers, NamedParts, named_parts


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
