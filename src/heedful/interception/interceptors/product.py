"""The product of attention weights and values, in every form that modules use.

Every form is read as letters, one an axis, as einsum writes them: of the weights, of the values and of the result. The
key axis is the one that the softmax ran over; the query axis is one of tokens that the values do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from heedful.errors import HeedfulError
from heedful.interception.form_rules import FEATURE, LEAD, Axes, kinds
from heedful.interception.layout import spelled
from heedful.interception.weights import OverFeatures

Letters = list[str]


class NoAttention(HeedfulError):
    """Error: the weights of a product are not attention over tokens, but for example those of a mixture of experts or
    a gate.
    """


@dataclass(frozen=True)
class Product:
    """Product of weights and values with axes in the order ``(*leading, query, key)`` and ``(*leading, key, width)``.

    Attributes:
        leading: Lengths of the leading axes of the weights.
        weights: Letters of the weights in that order, and as they stand.
        values: The same of the values; leading letters that they lack stand in the order, not among the second.
        result: The same of the result.
        value: The values as the module has them, without leading axes of length 1.
        standing: Letters of the values as they stand, those included.
        plain: The product as the module asked for it.
        multiply: The same with other values in the module's own layout.
        reweigh: The same with other weights in the module's own layout.
        pairs: Whether each query has values of its own (carried into its frame), so that they are of pairs.
    """

    leading: tuple[int, ...]
    weights: tuple[Letters, Letters]
    values: tuple[Letters, Letters]
    result: tuple[Letters, Letters]
    value: Tensor
    standing: Letters
    plain: Callable[[], Tensor]
    multiply: Callable[[Tensor], Tensor]
    reweigh: Callable[[Tensor], Tensor]
    pairs: bool = False

    def own_weights(self, tensor: Tensor) -> Tensor:
        """Rearrange weights from ``(*leading, query, key)`` to the module's own layout."""
        order, own = self.weights
        return tensor.permute([order.index(letter) for letter in own])

    def weights_in_order(self, tensor: Tensor) -> Tensor:
        """Rearrange weights, or logits of their layout, to ``(*leading, query, key)``."""
        order, own = self.weights
        return tensor.permute([own.index(letter) for letter in order])

    def value_in_order(self, tensor: Tensor) -> Tensor:
        """Rearrange values to ``(*leading, key, width)``, with length 1 along missing leading axes."""
        order, own = self.values
        there = [letter for letter in order if letter in own]
        moved = tensor.permute([own.index(letter) for letter in there])
        for place, letter in enumerate(order):
            if letter not in own:
                moved = moved.unsqueeze(place)
        return moved

    def value_axes(self, axes: Axes) -> Axes:
        """Return the axes of the values in the order of ``value_in_order``."""
        order, own = self.values
        return tuple(axes[self.standing.index(letter)] if letter in own else () for letter in order)

    def own_value(self, tensor: Tensor) -> Tensor:
        """Convert values back to the module's layout."""
        order, own = self.values
        there = [letter for letter in order if letter in own]
        for place in reversed([place for place, letter in enumerate(order) if letter not in own]):
            tensor = tensor.select(place, 0)
        return tensor.permute([there.index(letter) for letter in own])

    def result_in_order(self, tensor: Tensor) -> Tensor:
        """Rearrange the result to ``(*leading, query, width)``."""
        order, own = self.result
        return tensor.permute([own.index(letter) for letter in order])

    def own_result(self, tensor: Tensor) -> Tensor:
        """Convert the result back to the module's layout."""
        order, own = self.result
        return tensor.permute([order.index(letter) for letter in own])


def product_of(
    name: str,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    first: bool,
    axes: Axes,
    key: int,
) -> Product:
    """Return the product of weights and values that a torch function call computes.

    Args:
        name: The function's name.
        func: The function.
        args: Its arguments, of which two are tensors.
        kwargs: Its keyword arguments.
        first: Whether the weights are the first of the two.
        axes: What the weights' axes are made of, those of the logits they came from.
        key: The axis of the weights that the softmax ran over.

    Raises:
        HeedfulError: It is not a product of weights with values over the keys, or its axes are not known.
    """
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if len(tensors) != 2:
        raise HeedfulError(f"its weights went into {name} of {len(tensors)} tensors")
    given = _letters(name, args, tensors)
    if given is None:
        raise HeedfulError(f"the form of {name} in which its weights are multiplied is not understood")
    (one, other), out = given
    weights, value = (tensors[0], tensors[1]) if first else (tensors[1], tensors[0])
    own, theirs = (one, other) if first else (other, one)
    order = _in_order(own, theirs, out, weights, value, axes, key)
    leading, (query, keys, width) = order

    def put(old: Tensor, new: Tensor) -> Tensor:
        replaced = [new if entry is old else entry for entry in args]
        return func(*replaced, **{n: new if v is old else v for n, v in kwargs.items()})  # type: ignore[no-any-return]

    def multiply(values: Tensor) -> Tensor:
        return put(value, values)

    lacking = [letter for letter in theirs if value.shape[theirs.index(letter)] == 1 and letter in leading]
    shared = [letter for letter in theirs if letter not in lacking]
    slim = value.squeeze([theirs.index(letter) for letter in lacking]) if lacking else value

    def multiply_slim(values: Tensor) -> Tensor:
        for letter in (letter for letter in theirs if letter in lacking):
            values = values.unsqueeze(theirs.index(letter))
        return multiply(values)

    return Product(
        leading=tuple(weights.shape[own.index(letter)] for letter in leading),
        weights=([*leading, query, keys], own),
        values=([*leading, keys, width], shared),
        result=([*leading, query, width], out),
        value=slim,
        standing=theirs,
        plain=lambda: func(*args, **kwargs),
        multiply=multiply_slim,
        reweigh=lambda changed: put(weights, changed),
        pairs=query in theirs and value.shape[theirs.index(query)] > 1,
    )


def _letters(name: str, args: tuple[Any, ...], tensors: Sequence[Tensor]) -> tuple[list[Letters], Letters] | None:
    if name == "einsum":
        if isinstance(args[0], str):
            return spelled(args[0], [tensor.dim() for tensor in tensors])
        return _sublists(args)
    left, right = tensors
    if name not in ("matmul", "bmm", "mm", "__matmul__") or min(left.dim(), right.dim()) < 2:
        return None
    wide = max(left.dim(), right.dim()) - 2
    names = [f"l{place}" for place in range(wide)]
    out = [*names, "row", "column"]
    return [
        [*names[wide - left.dim() + 2 :], "row", "inner"],
        [*names[wide - right.dim() + 2 :], "inner", "column"],
    ], out


def _sublists(args: tuple[Any, ...]) -> tuple[list[Letters], Letters] | None:
    """``torch.einsum(a, [0, 1], b, [1, 2], [0, 2])``."""
    lists = [entry for entry in args if isinstance(entry, list | tuple)]
    if len(lists) != 3 or any(entry is Ellipsis for axes in lists for entry in axes):
        return None
    one, other, out = [[str(axis) for axis in axes] for axes in lists]
    return [one, other], out


def _in_order(
    own: Letters, theirs: Letters, out: Letters, weights: Tensor, value: Tensor, axes: Axes, key: int
) -> tuple[Letters, tuple[str, str, str]]:
    """Leading letters, and those of query, key and width."""
    keys = own[key]
    if keys not in theirs or keys in out:
        raise HeedfulError("its weights are summed over another axis than the one that the softmax ran over")
    widths = [letter for letter in theirs if letter not in own and letter in out]
    if len(widths) != 1 or any(letter not in out for letter in own if letter != keys):
        raise HeedfulError("its weights are multiplied in a form that is not understood")
    if any(weights.shape[own.index(n)] == 1 != value.shape[theirs.index(n)] for n in own if n in theirs and n != keys):
        raise HeedfulError("one row of its weights is used for several sequences or heads")
    alone = [n for n in own if n != keys and (n not in theirs or value.shape[theirs.index(n)] == 1)]
    tokens = [n for n in alone if FEATURE not in kinds(axes[own.index(n)])]
    rows = [
        n
        for n in (own[-2] if key == len(own) - 1 and len(own) > 1 else "", own[-1] if key == len(own) - 2 else "")
        if n
    ]
    query = _query(alone, tokens, rows, own, axes, weights)
    return [letter for letter in own if letter not in (keys, query)], (query, keys, widths[0])


def _of_pairs(weights: Tensor, query: int, key: int, axes: Axes) -> bool:
    """Whether weights that meet values of each pair are square ones over tokens; those of experts are not."""
    square = weights.shape[query] == weights.shape[key]
    return square and LEAD in kinds(axes[query]) and LEAD in kinds(axes[key])


def _query(alone: Letters, tokens: Letters, rows: Letters, own: Letters, axes: Axes, weights: Tensor) -> str:
    if not alone and rows and _of_pairs(weights, own.index(rows[0]), len(own) - 1, axes):
        return rows[0]
    if not alone:
        raise NoAttention("its weights have no axis of queries: a mixture, no attention over tokens")
    certain = [n for n in tokens if LEAD in kinds(axes[own.index(n)])]
    for candidates in (certain, tokens):
        if len(candidates) == 1:
            return candidates[0]
        near = [n for n in candidates if n in rows]
        if near:
            return near[0]
    short = [n for n in rows if n in alone and weights.shape[own.index(n)] == 1]
    if short:
        return short[0]
    raise OverFeatures("its queries are features and not tokens: no attention over tokens")
