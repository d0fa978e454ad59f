"""Prepare a call for the fused kernels, and split it into spans, one kernel call each.

PyTorch's fused kernels that return a log-sum-exp, one class per device; used by the ``fused`` engine.

All are called through ``torch.ops.aten``, because the public function returns no log-sum-exp.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.blocks import near_keys
from heedful.attention.engines.groups import GroupLabels
from heedful.attention.engines.moments import Extras

MASK_ELEMENTS = 2**21
"""Elements of a float mask held at once; rules that the kernels know need none."""

WIDTH = 8
"""Vectors are filled with zeros to a multiple of this, which some kernels ask for."""


@dataclass(frozen=True)
class KernelInputs:
    """A call in the kernels' layout: one key head per query head, float32, keys centred on their mean.

    Attributes:
        call: The call.
        query: ``(batch, head, query, width)``, times the scale: kernels mask before they scale, and -inf times a
            negative scale is no mask.
        key: ``(batch, head, key, width)``.
        value: ``(batch, head, key, value_dim)`` or None.
        columns: ``(batch, head, key, 1 + column)``: key position, then membership of groups and segments.
        shift: ``(batch, head, query)`` what the logits lost with the mean key.
        near: ``(batch, query, column)`` keys whose weight is kept, as ``blocks.near_keys``.
        labels: Groups laid out for the call, or None.
    """

    call: AttentionCall
    query: Tensor
    key: Tensor
    value: Tensor | None
    columns: Tensor
    shift: Tensor
    near: Tensor
    labels: GroupLabels | None

    @classmethod
    def of(cls, call: AttentionCall, extras: Extras) -> KernelInputs:
        """Convert a call to the kernels' layout."""
        repeated, device = call.heads // call.kv_heads, call.query.device
        query, key = call.query.float() * call.scale, call.key.float()
        centre = key.nan_to_num(0.0, 0.0, 0.0).mean(2, keepdim=True)
        columns = torch.arange(call.n_keys, dtype=torch.float32, device=device).expand(call.batch, -1)[..., None]
        labels = GroupLabels.of(call, extras.groups)
        if labels is not None and labels.columns is not None:
            columns = torch.cat([columns, labels.columns], dim=-1)
        first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, device)
        by_head = centre.repeat_interleave(repeated, 1)
        return cls(
            call=call,
            query=widened(query, query.shape[-1]),
            key=widened((key - centre).repeat_interleave(repeated, 1), key.shape[-1]),
            value=None if call.value is None else call.value.float().repeat_interleave(repeated, 1),
            columns=columns[:, None].expand(-1, call.heads, -1, -1),
            shift=(query * by_head).sum(-1),
            near=near_keys(call, first),
            labels=labels,
        )


@dataclass(frozen=True)
class Span:
    """Query range, key range and mask of one kernel call."""

    begin: int
    end: int
    first: int
    last: int
    is_causal: bool = False
    seen: Tensor | None = None

    def kernel_call(self, inputs: KernelInputs, query: Tensor) -> KernelCall:
        """Return the kernel inputs for given queries; rows without visible keys see all keys and are discarded
        later.
        """
        mask = None
        if self.seen is not None:
            hidden = ~self.seen & self.seen.any(-1, keepdim=True)
            mask = torch.zeros(hidden.shape, device=query.device).masked_fill_(hidden, -math.inf)
        return KernelCall(query, inputs.key[:, :, self.first : self.last], self.is_causal, mask)


def spans(call: AttentionCall, lag: int = 0) -> Iterator[Span]:
    """Yield spans of queries ``i``, each with the range and mask of the keys that queries ``i`` and ``i + lag`` both
    see.
    """
    rules, n_queries, n_keys = call.visibility, call.n_queries, call.n_keys
    pairs = n_queries - lag
    if pairs <= 0:
        return
    if rules.hides_nothing():
        yield Span(0, pairs, 0, n_keys)
        return
    if rules.only_causal() and rules.start(n_queries, n_keys) == 0:
        yield Span(0, pairs, 0, min(pairs, n_keys), is_causal=True)
        return
    shown = rules.block(0, 1, 0, 1, n_queries, n_keys, call.query.device)
    rows = max(1, MASK_ELEMENTS // (shown.shape[0] * shown.shape[1] * n_keys))
    for begin in range(0, pairs, rows):
        end = min(begin + rows, pairs)
        ranges = [rules.key_range(begin + more, end + more, n_queries, n_keys) for more in (0, lag)]
        first = max(low for low, _ in ranges)
        last = max(first, min(high for _, high in ranges))
        seen = [
            rules.block(begin + more, end + more, first, last, n_queries, n_keys, call.query.device)
            for more in {0, lag}
        ]
        yield Span(begin, end, first, last, seen=seen[0] & seen[-1])


def widened(tensor: Tensor, width: int) -> Tensor:
    """Pad the last axis with zeros to ``width``, rounded up to a multiple of ``WIDTH``."""
    missing = -(-width // WIDTH) * WIDTH - tensor.shape[-1]
    return tensor if missing <= 0 else torch.nn.functional.pad(tensor, (0, missing))


ALIGNMENT = 16
"""Rows of a mask begin at multiples of this many elements: what the kernels of CUDA devices ask for."""


@dataclass(frozen=True)
class KernelCall:
    """Inputs of one fused-kernel call.

    Attributes:
        query: ``(batch, head, query, dim)``.
        key: ``(batch, head, key, dim)``.
        is_causal: Query ``i`` sees keys 0 to ``i``.
        mask: ``(batch or 1, head or 1, query, key)`` added to the logits, 0 or -inf; or None.
    """

    query: Tensor
    key: Tensor
    is_causal: bool
    mask: Tensor | None


@dataclass(frozen=True)
class KernelAnswer:
    """Outputs of one fused-kernel call.

    Attributes:
        output: ``(batch, head, query, dim)``.
        logsumexp: ``(batch, head, query)`` in nats.
        saved: What the kernel's backward wants beside them.
    """

    output: Tensor
    logsumexp: Tensor
    saved: tuple[Any, ...] = ()


class Kernel(ABC):
    """Interface of a fused attention kernel: a forward that also gives the log-sum-exp, and the values' gradient."""

    device: ClassVar[str]
    operator: ClassVar[str]

    @classmethod
    def is_there(cls) -> bool:
        """Return whether this build of torch has the kernel."""
        return hasattr(torch.ops.aten, cls.operator)

    @abstractmethod
    def forward(self, call: KernelCall, value: Tensor, scale: float) -> KernelAnswer:
        """Return the weighted sum of values (as wide as the keys) and the log-sum-exp of the logits."""

    @abstractmethod
    def value_gradient(self, call: KernelCall, answer: KernelAnswer, gradient: Tensor) -> Tensor:
        """Return ``weights^T gradient``, the gradient of the values for a given output gradient."""


class CpuFlash(Kernel):
    """CPU flash kernel: only float masks; queries, keys and values of equal width."""

    device = "cpu"
    operator = "_scaled_dot_product_flash_attention_for_cpu"

    def forward(self, call: KernelCall, value: Tensor, scale: float) -> KernelAnswer:
        """Run the kernel, as documented in ``Kernel.forward``."""
        output, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            call.query, call.key, value, 0.0, call.is_causal, attn_mask=call.mask, scale=scale
        )
        return KernelAnswer(output, logsumexp)

    def value_gradient(self, call: KernelCall, answer: KernelAnswer, gradient: Tensor) -> Tensor:
        """Run the backward, as documented in ``Kernel.value_gradient``."""
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient,
            call.query,
            call.key,
            call.key,
            answer.output,
            answer.logsumexp,
            0.0,
            call.is_causal,
            attn_mask=call.mask,
            scale=1.0,
        )[2]


class CudaEfficient(Kernel):
    """Memory-efficient CUDA kernel: float32, with masks; the rows of its log-sum-exp are padded to a multiple of 32."""

    device = "cuda"
    operator = "_scaled_dot_product_efficient_attention"

    @staticmethod
    def _bias(call: KernelCall) -> Tensor | None:
        if call.mask is None:
            return None
        keys = call.mask.shape[-1]
        aligned = torch.nn.functional.pad(call.mask, (0, -keys % ALIGNMENT))[..., :keys]
        return aligned.expand(*call.query.shape[:2], -1, -1)

    def forward(self, call: KernelCall, value: Tensor, scale: float) -> KernelAnswer:
        """Run the kernel, as documented in ``Kernel.forward``."""
        output, logsumexp, seed, offset = torch.ops.aten._scaled_dot_product_efficient_attention(
            call.query, call.key, value, self._bias(call), True, 0.0, call.is_causal, scale=scale
        )
        return KernelAnswer(output, logsumexp[..., : call.query.shape[2]], (logsumexp, seed, offset))

    def value_gradient(self, call: KernelCall, answer: KernelAnswer, gradient: Tensor) -> Tensor:
        """Run the backward, as documented in ``Kernel.value_gradient``."""
        logsumexp, seed, offset = answer.saved
        return torch.ops.aten._scaled_dot_product_efficient_attention_backward(
            gradient,
            call.query,
            call.key,
            call.key,
            self._bias(call),
            answer.output,
            logsumexp,
            seed,
            offset,
            0.0,
            [False, False, True, False],
            call.is_causal,
            scale=1.0,
        )[2]


KERNELS: dict[str, type[Kernel]] = {kernel.device: kernel for kernel in (CpuFlash, CudaEfficient)}
"""Kernels by device type."""
