"""PyTorch's fused kernels that return a log-sum-exp, one class per device; used by the ``fused`` engine.

All are called through ``torch.ops.aten``, because the public function returns no log-sum-exp.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

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
    """Interface of a fused attention kernel: its forward with log-sum-exp, and its gradient with respect to the values
    at scale 1.
    """

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
