"""Track where tensors of a running forward come from: one small node per result of a torch function.

Nothing is computed from the nodes until an attention call needs it: which of its axes are heads and which are tokens
(``layout``), which keys a mask hides (``hidden``), whether query and key come from one stream (``streams``).
Nodes hold shapes and arguments. The only tensors that they hold are masks and biases that were added to something,
until the call that uses them has been described.

Classify torch functions by name: whether the result holds new content (as of a product), is a sum, is only
reshaped, or differs only in values.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["FILLS", "FORMS", "INDICES", "PRODUCTS", "SUMS", "WRITES", "Lineage", "Node"]

INDICES = "indices"
"""Stands in a node's arguments for a tensor of integers or of truth values."""

FOLLOWED = (Tensor, list, tuple)
"""Arguments that may be tensors or hold some."""

SWEEP = 2048
"""Entries of dead tensors are dropped whenever so many were made."""


@dataclass(slots=True, eq=False)
class Node:
    """Result of one torch function, with its inputs.

    Attributes:
        name: Name of the function; empty for a tensor that no watched function made.
        args: Its arguments, tensors replaced by their nodes, or by ``INDICES``.
        kwargs: Its keyword arguments, likewise.
        parents: Nodes of all tensors among the arguments.
        shape: Of the result.
        index: Which of several results.
        content: Whether it descends from a product; positions, masks and learned biases do not.
        weight: Whether it is made of parameters alone.
        held: Tensors that were added or filled in, by position in ``parents`` (``-1``: the mask of a fill).
        axes: What ``layout`` found, kept.
        softmax: The softmax whose weights these are, or None.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    parents: tuple[Node, ...] = ()
    shape: tuple[int, ...] = ()
    index: int = 0
    content: bool = False
    weight: bool = False
    held: dict[int, Tensor] | None = None
    axes: Any = None
    softmax: Any = None


class Lineage:
    """Nodes of all live tensors."""

    def __init__(self) -> None:
        self._nodes: dict[int, tuple[weakref.ref[Tensor], Node]] = {}
        self._made = 0

    def of(self, tensor: Tensor) -> Node | None:
        """Return the node of a tensor, or None."""
        entry = self._nodes.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def known(self, tensor: Tensor) -> Node:
        """Return the node of a tensor, or a new root node."""
        node = self.of(tensor)
        if node is None:
            node = Node("", shape=tuple(tensor.shape), weight=isinstance(tensor, nn.Parameter))
            self.put(tensor, node)
        return node

    def put(self, tensor: Tensor, node: Node) -> None:
        """Store the node of a tensor."""
        self._nodes[id(tensor)] = (weakref.ref(tensor), node)
        self._made += 1
        if self._made >= SWEEP:
            self._made = 0
            self._nodes = {key: entry for key, entry in self._nodes.items() if entry[0]() is not None}

    def record(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Create the nodes of a function's results, and of a tensor that it modified in place."""
        facts = facts_of(name)
        name = facts.name
        if name == "__setitem__" and isinstance(args[0], Tensor):
            result, args = args[0], (args[0], args[2])
        if isinstance(result, Tensor):
            if result.is_floating_point() or result.is_complex():
                node = self._of_one(facts, args, kwargs, result) if facts.of_one else None
                self.put(result, node or self._node(facts, args, kwargs, result))
        elif isinstance(result, tuple | list) and result and isinstance(result[0], Tensor):
            made = self._node(facts, args, kwargs, result[0])
            for index, tensor in enumerate(result):
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    self.put(tensor, _sibling(made, index, tensor))

    def _of_one(self, facts: NameFacts, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Node | None:
        """The node of most functions, which take one tensor that has a node; None where it takes more to tell.

        It is the node of the first argument, where the result has the same positions and features with other values.
        """
        first = args[0] if args else None
        entry = self._nodes.get(id(first))
        if entry is None or entry[0]() is not first:
            return None
        node = entry[1]
        if facts.form:
            if kwargs or facts.alone:
                return None
            for value in args[1:]:
                if isinstance(value, FOLLOWED) and type(value) is not torch.Size:
                    return None
            made = Node(
                facts.name, (node, *args[1:]), kwargs, (node,), tuple(result.shape), 0, node.content, node.weight
            )
            made.softmax = node.softmax
            return made
        if node.weight or node.softmax is not None or node.shape != result.shape:
            return None
        if facts.maps:
            return node
        number = len(args) == 2 and not kwargs and isinstance(args[1], int | float)
        return node if number and node.content else None

    def _node(self, facts: NameFacts, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Node:
        parents: list[Node] = []
        if facts.alone:
            args = args[:1]
        follow = self._followed
        given = tuple([follow(value, parents) if isinstance(value, FOLLOWED) else value for value in args])
        named = {key: follow(value, parents) for key, value in kwargs.items()} if kwargs else kwargs
        shape = tuple(result.shape)
        if facts.product and not facts.terms:  # new content, whatever it is made of
            return Node(facts.name, given, named, tuple(parents), shape, 0, True)
        content, weight = facts.product, bool(parents) and not facts.product
        softmax: Any = None
        data: Node | None = None
        for parent in parents:
            content = content or parent.content
            if not parent.weight:
                weight = False
                data = data or parent
            if softmax is None and parent.softmax is not None and (facts.form or parent.shape == shape):
                softmax = parent.softmax  # still the weights: changed in form, or element by element
        if facts.maps and data is not None and data.shape == shape and data.softmax is None:
            return data  # the same positions and features with other values
        node = Node(facts.name, given, named, tuple(parents), shape, 0, content and not facts.empty, weight)
        if not facts.product:
            node.softmax = softmax
        if facts.terms and not (facts.sum and all(parent.content for parent in parents)):
            node.held = _held(args, kwargs, node)
        return node

    def _followed(self, value: Any, parents: list[Node]) -> Any:
        if isinstance(value, Tensor):
            entry = self._nodes.get(id(value))
            if entry is not None and entry[0]() is value:
                node = entry[1]
            elif value.is_floating_point() or value.is_complex():
                node = self.known(value)
            else:
                return INDICES
            parents.append(node)
            return node
        if isinstance(value, list | tuple):
            for entry in value:
                if isinstance(entry, Tensor):
                    return tuple([self._followed(one, parents) for one in value])
        return value


def _sibling(made: Node, index: int, tensor: Tensor) -> Node:
    shape = tuple(tensor.shape)
    return Node(
        made.name, made.args, made.kwargs, made.parents, shape, index, made.content, made.weight, softmax=made.softmax
    )


def _held(args: tuple[Any, ...], kwargs: dict[str, Any], node: Node) -> dict[int, Tensor] | None:
    """The operands from which a mask may be read afterwards: whatever has no content."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    held: dict[int, Tensor] = {}
    position = 0
    for tensor in tensors:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            if tensor.dtype == torch.bool:
                held[-1] = tensor
            continue
        if position < len(node.parents) and not node.parents[position].content:
            held[position] = tensor
        position += 1
    return held or None


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
        sum: Whether it is a sum, of which content is never held.
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
    sum: bool
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
        sum=name in SUMS,
        alone=name.endswith("_as"),
        empty=name.endswith("_like") or name.startswith("new_"),
    )
