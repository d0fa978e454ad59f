"""Parse a user's choice of layers and heads: one, several, or heads for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from heedful.errors import UsageError

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
