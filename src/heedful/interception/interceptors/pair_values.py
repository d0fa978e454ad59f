"""Capture the product of weights with values that differ for each query, as when values are transported into the
query's frame.

Such values are of pairs, ``(*leading, query, key, width)``. The call then shows one-hot values, so that what it puts
out are the weights: they are verified and replaced, and the module multiplies them with its own values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from heedful.interception.form_rules import LEAD, Axes, kinds
from heedful.interception.interceptors.product import Product
from heedful.interception.weights import Softmax

TIMES = frozenset(["mul", "multiply", "__mul__", "__rmul__"])
"""Functions that weigh values element by element, before they are summed over keys."""


def of_pairs(
    name: str,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    softmax: Softmax,
    axes: Axes,
    weights: Tensor,
) -> Product | None:
    """Describe a product of weights with values of (query, key) pairs; return None for any other product.

    Two forms: ``(weights[..., None] * values)``, summed over keys afterwards, and ``weights[..., None, :] @ values``.

    Args:
        name: The function's name.
        func: The function.
        args: Its arguments.
        kwargs: Its keyword arguments.
        softmax: Where the weights come from.
        axes: What the axes of its logits stand for.
        weights: The weights as the function takes them.
    """
    shape = tuple(softmax.logits.shape)
    if softmax.dim != len(shape) - 1 or len(shape) < 3 or shape[-1] != shape[-2] or shape[-1] < 2:
        return None
    if not all(LEAD in kinds(axis) for axis in axes[-2:]):
        return None
    place = {(*shape, 1): -1, (*shape[:-1], 1, shape[-1]): -2}.get(tuple(weights.shape))
    others = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value is not weights]
    if place is None or len(others) != 1 or (place == -1) != (name in TIMES):
        return None
    value = others[0]
    if value.dim() != len(shape) + 1 or tuple(value.shape[-3:-1]) != shape[-2:]:
        return None
    letters = [f"l{place}" for place in range(len(shape) - 2)] + ["query", "key"]

    def reweigh(changed: Tensor) -> Tensor:
        new = changed.unsqueeze(place)
        return func(  # type: ignore[no-any-return]
            *[new if entry is weights else entry for entry in args],
            **{key: new if entry is weights else entry for key, entry in kwargs.items()},
        )

    spread = (letters, letters)
    return Product(
        leading=shape[:-2],
        weights=spread,
        values=([*letters[:-2], "key", "width"], [*letters, "width"]),
        result=spread,
        value=value,
        standing=[*letters, "width"],
        plain=lambda: func(*args, **kwargs),
        multiply=lambda values: values,
        reweigh=reweigh,
        pairs=True,
    )
