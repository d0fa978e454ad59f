"""Classify torch functions by name: whether the result holds new content (as of a product), is a sum, is only
reshaped, or differs only in values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

PRODUCTS = frozenset(
    [
        "linear",
        "matmul",
        "bmm",
        "mm",
        "mv",
        "addmm",
        "baddbmm",
        "inner",
        "einsum",
        "bilinear",
        "cdist",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "embedding",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        "attended",
    ]
)
"""Functions whose result is new content: a projection, a product, an attention."""

SUMS = frozenset(
    [
        "add",
        "add_",
        "sub",
        "sub_",
        "subtract",
        "__radd__",
        "__rsub__",
        "rsub",
        "__iadd__",
        "__isub__",
        "__add__",
        "__sub__",
        "baddbmm",
    ]
)
FILLS = frozenset(["masked_fill", "masked_fill_", "where"])
WRITES = frozenset(["__setitem__", "copy_", "index_copy_", "index_copy"])
"""Functions that write further positions into a tensor, a cache say."""

NAMED = {
    "__matmul__": "matmul",
    "concat": "cat",
    "concatenate": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
}
FORMS = frozenset(
    [
        "view",
        "view_as",
        "reshape_as",
        "expand_as",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "movedim",
        "t",
        "T",
        "mT",
        "adjoint",
        "expand",
        "repeat",
        "repeat_interleave",
        "chunk",
        "split",
        "narrow",
        "unbind",
        "select",
        "__getitem__",
        "roll",
        "flip",
    ]
)
"""Functions that change the form of a tensor and nothing else."""

MAPS = frozenset(
    (
        *(
            "layer_norm",
            "rms_norm",
            "group_norm",
            "batch_norm",
            "normalize",
            "dropout",
            "contiguous",
            "clone",
            "detach",
        ),
        *("to", "float", "half", "bfloat16", "double", "type", "gelu", "relu", "silu", "sigmoid", "tanh", "softplus"),
        *("pow", "rsqrt", "neg", "exp"),
    )
)
"""Functions of one tensor whose result has its positions and features: they get no node of their own."""

SCALED = frozenset(
    (
        *("add", "add_", "__radd__", "__iadd__", "__add__", "sub", "sub_", "__rsub__", "rsub", "__isub__", "__sub__"),
        *(
            "mul",
            "mul_",
            "__mul__",
            "__rmul__",
            "__imul__",
            "div",
            "div_",
            "true_divide",
            "__truediv__",
            "__itruediv__",
        ),
    )
)
"""Functions which, between content and a number, are such maps too; a mask keeps its node, by which it is read."""


class NameFacts(NamedTuple):
    """Facts about a function by its name, looked up once per function in a forward.

    Attributes:
        name: The name, one for all spellings.
        maps: Whether it is among ``MAPS``.
        scaled: Whether it is among ``SCALED``.
        product: Whether it is among ``PRODUCTS``.
        form: Whether it is among ``FORMS``.
        of_one: Whether it is any of these but a product, so that one tensor tells all where it is the only one.
        terms: Whether its operands may be masks and biases that are to be held.
        alone: Whether its other argument gives a form and no values.
        empty: Whether its result has nothing of its arguments' content.
    """

    name: str
    maps: bool
    scaled: bool
    product: bool
    form: bool
    of_one: bool
    terms: bool
    alone: bool
    empty: bool


@lru_cache(4096)
def facts_of(called: str) -> NameFacts:
    """Return the facts about a torch function by its name."""
    name = NAMED.get(called, called)
    return NameFacts(
        name,
        maps=name in MAPS,
        scaled=name in SCALED,
        product=name in PRODUCTS,
        form=name in FORMS,
        of_one=name in MAPS or name in SCALED or name in FORMS,
        terms=name in SUMS or name in FILLS,
        alone=name.endswith("_as"),
        empty=name.endswith("_like") or name.startswith("new_"),
    )
