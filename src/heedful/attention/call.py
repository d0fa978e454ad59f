"""Attention call of one layer: its tensors and visibility rules, validated on construction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heedful.attention.visibility import Visibility, causal, tensor_of, visibility_of
from heedful.errors import CallError


def _shape(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


@dataclass(frozen=True, kw_only=True)
class AttentionCall:
    """Query, key, value, scale and visibility rules of one attention call.

    ``logits = softcap * tanh(scale * query . key / softcap) + bias`` (softcap and bias where present),
    ``weights = exp(logits - Z)`` over the visible keys and, where one is learned, the sink. Numpy arrays are taken for
    tensors.

    Attributes:
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``; query head ``h`` reads key head ``h // (heads / kv_heads)``.
        value: ``(batch, kv_head, key, value_dim)`` or None.
        scale: Factor of the dot products; NaN, the default, means ``dim ** -0.5``.
        visibility: Which keys each query sees; ``"causal"``, ``"bidirectional"`` or a bool tensor is made into rules.
        bias: Finite additive term, broadcastable to ``(batch, head, query, key)``, or None.
        softcap: Bound of the logits before the bias (Gemma 2), or None.
        sink: ``(head,)`` learned logit that takes weight and gives no value (gpt-oss), or None.
        cross: Whether the keys are of another sequence than the queries; then there is no diagonal.

    Raises:
        CallError: The tensors do not fit together; the message names both sides.
    """

    query: Tensor
    key: Tensor
    value: Tensor | None = None
    scale: float = field(default=math.nan)
    visibility: Visibility = field(default_factory=causal)
    bias: Tensor | None = None
    softcap: float | None = None
    sink: Tensor | None = None
    cross: bool = False

    def __post_init__(self) -> None:
        self._take_other_forms()
        self._check_query_and_key()
        if math.isnan(self.scale):
            object.__setattr__(self, "scale", self.query.shape[-1] ** -0.5)
        if not math.isfinite(self.scale):
            raise CallError(f"scale: expected a finite number, got {self.scale}")
        if self.value is not None and (self.value.dim() != 4 or self.value.shape[:3] != self.key.shape[:3]):
            raise CallError(
                f"value: expected (batch, kv_head, key, value_dim) = {tuple(self.key.shape[:3])} + (any,), "
                f"got {_shape(self.value)}"
            )
        if self.sink is not None and self.sink.shape != (self.heads,):
            raise CallError(f"sink: expected one logit a head, ({self.heads},), got {_shape(self.sink)}")
        if self.bias is not None and not self.bias.is_floating_point():
            raise CallError(
                f"bias: expected a float tensor, got {_shape(self.bias)}; a bool mask belongs in visibility"
            )
        for name, tensor in (("bias", self.bias), ("visibility.mask", self.visibility.mask)):
            self._check_broadcast(name, tensor)
        if self.bias is not None and self.bias.dim() < 4:
            object.__setattr__(self, "bias", self.bias[(None,) * (4 - self.bias.dim())])
        for name, real, length in (
            ("keys", self.visibility.keys, self.n_keys),
            ("queries", self.visibility.queries, self.n_queries),
            ("documents", self.visibility.documents, self.n_keys),
            ("query_documents", self.visibility.query_documents, self.n_queries),
        ):
            if real is not None and tuple(real.shape) != (self.batch, length):
                raise CallError(f"visibility.{name}: expected ({self.batch}, {length}), got {tuple(real.shape)}")
        if self.visibility.documents is not None and self.visibility.query_documents is None and self.offset is None:
            raise CallError("visibility.documents: queries share no positions with the keys here; give query_ids too")

    def _take_other_forms(self) -> None:
        for name in ("query", "key", "value", "bias", "sink"):
            given = getattr(self, name)
            if not isinstance(given, Tensor) and (given is not None or name in ("query", "key")):
                if given is None:
                    raise CallError(f"{name}: expected a float tensor (batch, head, position, dim), got None")
                object.__setattr__(self, name, tensor_of(name, given))
        if not isinstance(self.visibility, Visibility):
            object.__setattr__(self, "visibility", visibility_of(self.visibility))
        if self.scale is None:
            object.__setattr__(self, "scale", math.nan)
        for name in ("scale", "softcap"):
            if not isinstance(getattr(self, name), float | int | None) or isinstance(getattr(self, name), bool):
                raise CallError(f"{name}: expected a number, got {getattr(self, name)!r:.60}")

    def _check_query_and_key(self) -> None:
        for name, tensor in (("query", self.query), ("key", self.key)):
            if tensor.dim() != 4 or not tensor.is_floating_point():
                raise CallError(f"{name}: expected a float tensor (batch, head, position, dim), got {_shape(tensor)}")
            if 0 in tensor.shape:
                raise CallError(f"{name}: expected at least one of each axis, got {_shape(tensor)}")
        if self.query.shape[0] != self.key.shape[0] or self.query.shape[3] != self.key.shape[3]:
            raise CallError(
                f"query and key: expected the same batch and dim, got {_shape(self.query)} and {_shape(self.key)}"
            )
        if self.query.shape[1] % self.key.shape[1]:
            raise CallError(
                f"heads: expected the {self.query.shape[1]} query heads to be a multiple of the "
                f"{self.key.shape[1]} key heads"
            )
        if self.query.device != self.key.device:
            raise CallError(f"query and key: expected one device, got {self.query.device} and {self.key.device}")

    def _check_broadcast(self, name: str, tensor: Tensor | None) -> None:
        if tensor is None:
            return
        full = (self.batch, self.heads, self.n_queries, self.n_keys)
        try:
            fits = tuple(torch.broadcast_shapes(tuple(tensor.shape), full)) == full
        except RuntimeError:
            fits = False
        if not fits:
            raise CallError(
                f"{name}: expected a shape that broadcasts to (batch, head, query, key) = {full}, got {_shape(tensor)}"
            )

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return int(self.query.shape[0])

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return int(self.query.shape[1])

    @property
    def kv_heads(self) -> int:
        """Number of key heads."""
        return int(self.key.shape[1])

    @property
    def n_queries(self) -> int:
        """Number of query positions."""
        return int(self.query.shape[2])

    @property
    def n_keys(self) -> int:
        """Number of key positions."""
        return int(self.key.shape[2])

    @property
    def offset(self) -> int | None:
        """Key position of query 0, or None if queries and keys are not positions of one sequence.

        Cross-attention (``cross``; or not causal, different lengths, no offset given) has no diagonal: self, previous
        and local mass are undefined there.
        """
        visibility = self.visibility
        if self.cross:
            return None
        if visibility.offset is None and not visibility.is_causal and self.n_queries != self.n_keys:
            return None
        return visibility.start(self.n_queries, self.n_keys)
