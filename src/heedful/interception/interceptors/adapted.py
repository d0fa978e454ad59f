"""Capture the attention of a module from its output, with a reader that the user's adapter returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import Visibility
from heedful.errors import HeedfulError, UsageError
from heedful.interception.adapter import Reader
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.stack import Frame

KNOWN = ("weights", "divergence", "kappa", "visible", "with_weights")
WAY, READING = "adapter", "adapter alone"
"""The way of a call whose weights can be replaced, and of one that can only be read."""


def read(way: Interceptor, frame: Frame, reader: Reader, output: Any) -> Any:
    """Deliver the attention call that a reader finds in a module's output; return a new output if its weights are
    replaced, else None.

    Args:
        way: The interception.
        frame: The module's frame.
        reader: What reads its output.
        output: What it put out.

    Returns:
        Another output, where the answer has other weights; None where its own stands.
    """
    found: dict[str, Any] = {}
    wrong: list[HeedfulError] = []
    try:
        found.update(_checked(reader(output)))
    except HeedfulError as error:
        wrong.append(error)

    def describe() -> AttentionCall:
        if wrong:
            raise wrong[0]
        found["weights"], call = _described(found)
        return call

    def run(other: Tensor | None) -> Tensor:
        weights: Tensor = found["weights"]
        return weights if other is None else weights.to(other.dtype) @ other

    answer = way.meet(frame.module, WAY if found.get("with_weights") else READING, describe, run, 0.0)
    if answer is None or answer is found["weights"]:
        return None
    if found.get("with_weights") is None:
        message = "its adapter gives no 'with_weights', a function from other weights to the module's output"
        raise UsageError(f"replace: {frame.path}: {message} (add it)")
    with way.inside():
        return found["with_weights"](answer)


def _checked(found: Any) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise HeedfulError(f"its adapter's reader returned {type(found).__name__}; expected a dictionary")
    if strange := [name for name in found if name not in KNOWN]:
        raise HeedfulError(f"its adapter's reader names {strange[0]!r}; expected {', '.join(KNOWN)}")
    if found.get("weights") is None and found.get("divergence") is None:
        raise HeedfulError("its adapter's reader returned neither 'weights' nor 'divergence'")
    for name in ("weights", "divergence"):
        tensor = found.get(name)
        if tensor is not None and not (isinstance(tensor, Tensor) and tensor.dim() == 4 and tensor.is_floating_point()):
            got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise HeedfulError(f"its adapter's {name!r}: expected a float tensor (batch, head, query, key), got {got}")
    return dict(found)


def _described(found: Mapping[str, Any]) -> tuple[Tensor, AttentionCall]:
    """The weights, and the call whose output they are: its values are one-hot."""
    weights, divergence, visible = found.get("weights"), found.get("divergence"), found.get("visible")
    shape = (weights if divergence is None else divergence).shape  # type: ignore[union-attr]
    if weights is not None and weights.shape != shape:
        raise HeedfulError(f"its adapter's weights have shape {tuple(weights.shape)}, its divergence {tuple(shape)}")
    if divergence is None:
        logits = weights.log()  # type: ignore[union-attr]
    else:
        kappa = torch.as_tensor(found.get("kappa", 1.0), dtype=divergence.dtype, device=divergence.device)
        logits = -divergence / kappa.reshape(1, -1, 1, 1)
    if visible is None and weights is not None:
        visible = weights > 0
    hidden = (
        None if visible is None else ~torch.as_tensor(visible, dtype=torch.bool, device=logits.device).expand(shape)
    )
    if weights is None:
        weights = torch.softmax(logits if hidden is None else logits.masked_fill(hidden, -torch.inf), -1)
    batch, heads, queries, keys = shape
    seen = None if hidden is None or not bool(hidden.any()) else ~hidden
    if seen is not None and bool((seen == seen[:, :1]).all()):
        seen = seen[:, :1]
    return weights, AttentionCall(
        query=logits.new_zeros(batch, heads, queries, 1),
        key=logits.new_zeros(batch, heads, keys, 1),
        value=torch.eye(keys, dtype=logits.dtype, device=logits.device).expand(batch, heads, -1, -1),
        scale=1.0,
        visibility=Visibility() if seen is None else Visibility(mask=seen),
        bias=logits if hidden is None else logits.masked_fill(hidden, 0.0),
    )
