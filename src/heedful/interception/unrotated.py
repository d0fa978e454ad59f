"""Capture queries and keys before rotary positions, from the outputs of norms or projections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

PAIRS = (
    ("q_norm", "k_norm"),
    ("query_layernorm", "key_layernorm"),
    ("q_layernorm", "k_layernorm"),
    ("q_proj", "k_proj"),
    ("query", "key"),
    ("to_q", "to_k"),
    ("wq", "wk"),
)
"""Names of the submodules whose outputs become query and key, the last one before the rotation first."""

FUSED = ("qkv_proj", "query_key_value", "c_attn", "qkv", "Wqkv", "to_qkv")
"""Names of one projection that gives query, key and value. A name alone is not believed: see :class:`Unrotated`."""

NOT_ROTATED = "its queries and keys are not rotated: before is after"
"""Why there is no stage before in a model that puts positions elsewhere."""

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Relative difference of norms that a rotation in each number format explains."""


@dataclass
class Unrotated:
    """Stores outputs of submodules before rotary positions, until their attention call is captured.

    A rotation changes no norm, and no product of a query with the key at its own position, which is turned by the same
    angle. What was met is believed where both are those of the call, vector by vector, and is not measured otherwise.
    """

    outputs: dict[int, Tensor] = field(default_factory=dict)
    _handles: list[Any] = field(default_factory=list)

    def begin(self, model: nn.Module, listens: Callable[[], bool]) -> None:
        """Install hooks on a model until ``end`` is called.

        Args:
            model: The model.
            listens: Whether outputs are wanted at this moment.
        """
        names = {name for pair in PAIRS for name in pair} | set(FUSED)

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            if listens() and isinstance(output, Tensor):
                self.outputs[id(module)] = output.detach()

        for path, module in model.named_modules():
            if path.rpartition(".")[2] in names:
                self._handles.append(module.register_forward_hook(keep))

    def end(self) -> None:
        """Remove the hooks and clear the stored outputs."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.outputs.clear()

    def of(self, module: nn.Module, query: Tensor, key: Tensor) -> tuple[tuple[Tensor, Tensor] | None, str]:
        """Return query and key of an attention module before rotation, or None with the reason.

        Args:
            module: The attention module.
            query: ``(batch, head, position, dim)`` of its call.
            key: ``(batch, kv_head, position, dim)`` of its call.

        Returns:
            The two, shaped as those of the call, or None; and why there are none, or the empty string.
        """
        captured = False
        for before in self._candidates(module, query, key):
            captured = True
            if _differ_by_rotation(before, (query, key)):
                if torch.equal(before[0], query) and torch.equal(before[1], key):
                    return None, NOT_ROTATED
                return before, ""
        if captured:
            return None, "what its projections gave is more than a rotation away from its queries and keys"
        return None, f"none of {', '.join(name for name, _ in PAIRS)}, {', '.join(FUSED)} was found in it"

    def _candidates(self, module: nn.Module, query: Tensor, key: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        children = dict(module.named_children())
        for names in PAIRS:
            given = [self.outputs.get(id(children.get(name))) for name in names]
            if given[0] is not None and given[1] is not None:
                pair = shaped(given[0], query), shaped(given[1], key)
                if pair[0] is not None and pair[1] is not None:
                    yield pair[0], pair[1]
        for name in FUSED:
            given = [self.outputs.get(id(children.get(name)))]
            if given[0] is not None:
                yield from cut(given[0], query, key)


def shaped(output: Tensor, like: Tensor) -> Tensor | None:
    """Reshape an output to ``(batch, head, position, dim)``, from either axis order; None if it doesn't fit."""
    batch, heads, length, dim = like.shape
    if output.numel() != like.numel() or len(output) != batch:
        return None
    if output.shape == like.shape and length != heads:
        return output
    return output.reshape(batch, length, heads, dim).transpose(1, 2)


def cut(output: Tensor, query: Tensor, key: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the (query, key) pairs that a joint projection's output may hold: one behind the other, or interleaved by
    head.
    """
    (batch, heads, length, dim), kv_heads = query.shape, key.shape[1]
    if output.dim() != 3 or output.shape[:2] != (batch, length):
        return
    if output.shape[2] >= (heads + kv_heads) * dim:
        first, second = output[..., : heads * dim], output[..., heads * dim : (heads + kv_heads) * dim]
        found = shaped(first, query), shaped(second, key)
        if found[0] is not None and found[1] is not None:
            yield found[0], found[1]
    if heads == kv_heads and output.shape[2] == 3 * heads * dim:
        each = output.view(batch, length, heads, 3, dim).transpose(1, 2)
        yield each[..., 0, :], each[..., 1, :]


def _differ_by_rotation(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> bool:
    tolerance = max(TOLERANCE.get(values.dtype, 0.0) for values in (*before, *after))
    query, key = ([values[:1].float() for values in pair] for pair in zip(before, after, strict=True))
    sizes = [[values.norm(dim=-1) for values in pair] for pair in (query, key)]
    if not all(torch.allclose(a, b, rtol=tolerance, atol=1e-6, equal_nan=True) for a, b in sizes):
        return False
    if query[0].shape[2] != key[0].shape[2]:
        return True
    groups = query[0].shape[1] // key[0].shape[1]
    first, second = (
        torch.linalg.vecdot(q, k.repeat_interleave(groups, dim=1)) for q, k in zip(query, key, strict=True)
    )
    largest = sizes[0][1] * sizes[1][1].repeat_interleave(groups, dim=1)
    return bool(((first - second).abs() <= 2 * tolerance * largest + 1e-6).logical_or(largest.isnan()).all())
