"""Where the tensors of a running forward come from: one small node for each result of a torch function.

Nothing is computed from the nodes until an attention call needs it: which of its axes are heads and which are tokens
(``layout``), which keys a mask hides (``hidden``), whether query and key come from one stream (``streams``).
Nodes hold shapes and arguments. The only tensors that they hold are masks and biases that were added to something,
until the call that uses them has been described.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

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

INDICES = "indices"
"""Stands in a node's arguments for a tensor of integers or of truth values."""

SWEEP = 2048
"""Entries of dead tensors are dropped whenever so many were made."""


@dataclass(slots=True, eq=False)
class Node:
    """One result of a torch function.

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
    """Nodes of the tensors that are alive."""

    def __init__(self) -> None:
        self._nodes: dict[int, tuple[weakref.ref[Tensor], Node]] = {}
        self._made = 0

    def of(self, tensor: Tensor) -> Node | None:
        """The node of a tensor, or None."""
        entry = self._nodes.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def known(self, tensor: Tensor) -> Node:
        """The node of a tensor; a new root where it has none."""
        node = self.of(tensor)
        if node is None:
            node = Node("", shape=tuple(tensor.shape), weight=isinstance(tensor, nn.Parameter))
            self.put(tensor, node)
        return node

    def put(self, tensor: Tensor, node: Node) -> None:
        """Say where a tensor comes from."""
        self._nodes[id(tensor)] = (weakref.ref(tensor), node)
        self._made += 1
        if self._made >= SWEEP:
            self._made = 0
            self._nodes = {key: entry for key, entry in self._nodes.items() if entry[0]() is not None}

    def record(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Make the node of what a function has returned, and of a tensor that it has written into."""
        name = NAMED.get(name, name)
        if name == "__setitem__" and isinstance(args[0], Tensor):
            result, args = args[0], (args[0], args[2])
        if isinstance(result, Tensor):
            if result.is_floating_point() or result.is_complex():
                self.put(result, self._node(name, args, kwargs, result))
        elif isinstance(result, tuple | list) and result and isinstance(result[0], Tensor):
            made = self._node(name, args, kwargs, result[0])
            for index, tensor in enumerate(result):
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    self.put(tensor, _sibling(made, index, tensor))

    def _node(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Node:
        parents: list[Node] = []
        if name.endswith("_as"):  # whose other argument gives a form and no values
            args = args[:1]
        given = tuple([self._followed(value, parents) for value in args])
        named = {key: self._followed(value, parents) for key, value in kwargs.items()} if kwargs else kwargs
        shape = tuple(result.shape)
        product, terms = name in PRODUCTS, name in SUMS or name in FILLS
        content = weight = False
        data: Node | None = None
        weight = bool(parents) and not product
        for parent in parents:
            content = content or parent.content
            weight = weight and parent.weight
            data = (data or parent) if not parent.weight else data
        if name in MAPS and data is not None and data.shape == shape and data.softmax is None:
            return data  # the same positions and features with other values
        node = Node(name, given, named, tuple(parents), shape, 0, product or content, weight)
        if name.endswith("_like") or name.startswith("new_"):
            node.content = False
        if not product:
            node.softmax = next((p.softmax for p in parents if p.softmax is not None and _follows(name, p, node)), None)
        if terms:
            node.held = _held(name, args, kwargs, node)
        return node

    def _followed(self, value: Any, parents: list[Node]) -> Any:
        if isinstance(value, Tensor):
            if not (value.is_floating_point() or value.is_complex()):
                return INDICES
            entry = self._nodes.get(id(value))
            node = entry[1] if entry is not None and entry[0]() is value else self.known(value)
            parents.append(node)
            return node
        if isinstance(value, list | tuple) and any(isinstance(entry, Tensor) for entry in value):
            return tuple([self._followed(entry, parents) for entry in value])
        return value


def _follows(name: str, parent: Node, node: Node) -> bool:
    """Whether a result is still the weights: changed in form, or element by element."""
    return name in FORMS or parent.shape == node.shape


def _sibling(made: Node, index: int, tensor: Tensor) -> Node:
    shape = tuple(tensor.shape)
    return Node(
        made.name, made.args, made.kwargs, made.parents, shape, index, made.content, made.weight, softmax=made.softmax
    )


def _held(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], node: Node) -> dict[int, Tensor] | None:
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
