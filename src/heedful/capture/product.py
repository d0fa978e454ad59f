"""The product of weights with values, in each of the forms in which modules write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MATMUL = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm)


@dataclass(frozen=True)
class Product:
    """Weights times values.

    Attributes:
        value: ``(batch, kv_head, key, value_dim)``.
        plain: The product as the module asked for it.
        times: The same with other values ``(batch, kv_head, key, other_dim)``.
        standard: From the product's own layout to ``(batch, head, query, value_dim)``.
        own: The way back.
    """

    value: Tensor
    plain: Callable[[], Tensor]
    times: Callable[[Tensor], Tensor]
    standard: Callable[[Tensor], Tensor]
    own: Callable[[Tensor], Tensor]


def same_storage(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same memory."""
    return one is other or one.untyped_storage()._cdata == other.untyped_storage()._cdata


def product_of(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], weights: Tensor, logits: Tensor
) -> Product | None:
    """The product that a function call is, or None where it is none of these weights with values.

    Args:
        func: A torch function.
        args: Its arguments.
        kwargs: Its keyword arguments.
        weights: The weights that are awaited, in whatever layout they have by now.
        logits: ``(batch, head, query, key)`` they came from.
    """
    if kwargs:
        return None
    equation = args[0] if func is torch.einsum else None
    if equation is None and func not in MATMUL:
        return None
    factors = [factor for factor in args if isinstance(factor, Tensor)]
    with torch._C.DisableTorchFunction():
        if len(factors) != 2 or not same_storage(factors[0], weights):
            return None
        if isinstance(equation, str):
            return _einsum(equation, factors[0], factors[1], logits)
        return _matmul(func, factors[0], factors[1], logits)


def _matmul(func: Callable[..., Any], left: Tensor, right: Tensor, logits: Tensor) -> Product | None:
    batch, heads, queries, keys = logits.shape
    if left.shape[-2:] != logits.shape[-2:] or left.numel() != logits.numel() or right.dim() != left.dim():
        return None
    if right.shape[-2] != keys:
        return None
    value = right if right.dim() == 4 else right.unflatten(0, (batch, heads))
    if value.shape[0] != batch or heads % value.shape[1]:
        return None

    def times(other: Tensor) -> Tensor:
        return func(left, other.reshape(*right.shape[:-1], other.shape[-1]))  # type: ignore[no-any-return]

    def own(answer: Tensor) -> Tensor:
        return answer.to(right.dtype).reshape(*left.shape[:-1], answer.shape[-1])

    return Product(
        value=value,
        plain=lambda: func(left, right),
        times=times,
        standard=lambda result: result.reshape(batch, heads, queries, -1),
        own=own,
    )


def _einsum(equation: str, left: Tensor, right: Tensor, logits: Tensor) -> Product | None:
    terms, _, out = equation.replace(" ", "").partition("->")
    weights, _, values = terms.partition(",")
    if left.shape != logits.shape or "." in terms or sorted(len(word) for word in (weights, values, out)) != [4, 4, 4]:
        return None
    batch, head, query, key = tuple(weights)
    width = next((letter for letter in values if letter not in weights), "")
    if sorted(values) != sorted((batch, head, key, width)) or sorted(out) != sorted((batch, head, query, width)):
        return None
    by_key, by_query = (batch, head, key, width), (batch, head, query, width)

    def times(other: Tensor) -> Tensor:
        return torch.einsum(equation, left, other.permute([by_key.index(letter) for letter in values]))

    return Product(
        value=right.permute([values.index(letter) for letter in by_key]),
        plain=lambda: torch.einsum(equation, left, right),
        times=times,
        standard=lambda result: result.permute([out.index(letter) for letter in by_query]),
        own=lambda answer: answer.to(right.dtype).permute([by_query.index(letter) for letter in out]),
    )
