"""Attention weights between their softmax and their product with values: what changed them on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.errors import HeedfulError
from heedful.interception.form_rules import FEATURE, LEAD, UNKNOWN, WEIGHT, Axis, kinds
from heedful.interception.lineage import FORMS, Node
from heedful.interception.rules import moved
from heedful.interception.stack import Frame


class OverFeatures(HeedfulError):
    """Error: a softmax runs over features or channels, so it is not attention over tokens."""


@dataclass(eq=False)
class Softmax:
    """Attention weights between their softmax and the product with values.

    Attributes:
        frames: The modules that run, outermost first.
        logits: What the softmax took.
        node: Where the logits come from.
        dim: The axis that it ran over.
        weights: Node of its result.
        multiplied: Whether its product with values was met.
        version: How often the logits' memory had been written to.
        over_features: Whether it ran over features, so that it is no attention over tokens.
        failed: Why a product with its weights was not understood; empty where none was tried.
    """

    frames: tuple[Frame, ...]
    logits: Tensor
    node: Node
    dim: int
    weights: Node
    multiplied: bool = False
    version: int = 0
    over_features: bool = False
    failed: str = ""


def refuse_features(mine: Axis, theirs: Axis, width: Axis, value: Node, n_keys: int) -> None:
    """Raise an error if a softmax does not run over tokens.

    Raises:
        HeedfulError: Its axis is one of features, or of nothing that is known.
    """
    found = kinds(mine) | kinds(theirs)
    if FEATURE in found:
        raise OverFeatures("its softmax runs over features or channels: no attention over tokens")
    if LEAD not in found and n_keys > 1:
        if WEIGHT in found:
            raise HeedfulError("its keys are learned vectors: no attention over tokens")
        if UNKNOWN in found or not found:
            raise HeedfulError("it is unknown which axis its softmax runs over")
    if kinds(width) == {LEAD} and value.content:
        raise HeedfulError("its weights are multiplied by another array over tokens, not by values")


def _links(softmax: Softmax, node: Node) -> list[Node]:
    """The functions between the softmax and these weights, in order."""
    links: list[Node] = []
    while node is not softmax.weights:
        links.append(node)
        node = next(parent for parent in node.parents if parent.softmax is softmax)
    return links[::-1]


def replayed(softmax: Softmax, node: Node, tensor: Tensor) -> Tensor:
    """Reshape a tensor in the way in which the weights were reshaped after their softmax; it has the shape of the
    logits.
    """
    for link in _links(softmax, node):
        if link.name in FORMS:
            tensor = moved(link, tensor)
    return tensor


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was modified in place; -1 if torch does not count."""
    return -1 if tensor.is_inference() else tensor._version


SAME_VALUES = FORMS | frozenset(
    ["dropout", "contiguous", "clone", "to", "float", "half", "bfloat16", "double", "type", "type_as", "detach"]
)
"""Functions after which weights are those of the softmax, but for rounding and dropped ones."""


def refuse_changed(softmax: Softmax, node: Node, used: Tensor) -> None:
    """Raise an error if weights were modified between softmax and product.

    Raises:
        HeedfulError: They are not the softmax of the logits.
    """
    if all(link.name in SAME_VALUES for link in _links(softmax, node)):
        return
    weights = replayed(softmax, node, torch.softmax(softmax.logits.float(), softmax.dim))
    limit = 4 * torch.finfo(used.dtype).eps
    empty = weights.isnan()  # rows that see no key, which some modules set to zero
    if not torch.allclose(
        weights.masked_fill(empty, 0.0), used.float().masked_fill(empty, 0.0), rtol=limit, atol=limit
    ):
        raise HeedfulError("its weights were changed between the softmax and the values")


def key_axis(softmax: Softmax, node: Node) -> int:
    """Return the axis of the weights that the softmax ran over."""
    if node is softmax.weights:
        return softmax.dim
    count = softmax.logits.shape[softmax.dim]
    shape = [1] * softmax.logits.dim()
    shape[softmax.dim] = count
    mark = torch.arange(count).view(shape).expand(softmax.logits.shape)
    mark = replayed(softmax, node, mark)
    along = [
        axis
        for axis in range(mark.dim())
        if mark.shape[axis] > 1 and bool((mark.select(axis, 0) != mark.select(axis, 1)).any())
    ]
    if count == 1:
        return mark.dim() - 1
    if len(along) != 1 or mark.shape[along[0]] != count:
        raise HeedfulError("a part of its weights is multiplied by values of its own, which is not understood")
    return along[0]


def dropout_of(softmax: Softmax, node: Node) -> float:
    """Return the dropout probability applied to the weights since the softmax."""
    for link in _links(softmax, node):
        if link.name == "dropout":
            training = link.kwargs.get("training", link.args[2] if len(link.args) > 2 else True)
            return float(link.kwargs.get("p", link.args[1] if len(link.args) > 1 else 0.5)) if training else 0.0
    return 0.0
