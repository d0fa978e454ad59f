"""ALiBi: logits decrease linearly with distance, with a promised slope for each head.

Slopes are read out of the kernel's weights: what is left of their logarithms after the scaled products. Where the
module makes its logits itself, queries and keys are taken from its projection.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from heedful.contract.numbers import NumberFinding
from heedful.contract.promises import Place
from heedful.contract.record import Promise, Status
from heedful.contract.sampled_rows import KernelRows
from heedful.interception.event import AttentionEvent
from heedful.interception.unrotated import cut

JOINT = ("query_key_value", "Wqkv")
LEAST = 1e-6
ROUNDED = 2.0**-7
"""Falcon rounds its slopes and their products with positions to bfloat16."""


def promised_slopes(place: Place, heads: int) -> Promise | None:
    """Return the promised slope of each head, or None if the config promises no ALiBi.

    Source: Press et al. 2022, arXiv:2108.12409; where heads are no power of two, Bloom and Falcon take the missing
    slopes from twice as many heads, MPT every other one.
    """
    config, name = place.config, place.model_type
    if name == "bloom":
        return Promise("alibi", _of_bloom(heads), "model type bloom")
    if name == "falcon" and getattr(config, "alibi", False) is True:
        width = config.hidden_size // config.num_attention_heads
        return Promise("alibi", [slope / math.sqrt(width) for slope in _of_bloom(heads)], "config.alibi")
    attention: Any = getattr(config, "attn_config", None)
    if name == "mpt" and attention is not None and getattr(attention, "alibi", False) is True:
        return Promise("alibi", _of_mpt(heads, float(attention.alibi_bias_max)), "config.attn_config.alibi")
    return None


def _of_bloom(heads: int) -> list[float]:
    whole = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * (place + 1) / whole) for place in range(whole)]
    return slopes + [2.0 ** (-4.0 * (2 * place + 1) / whole) for place in range(heads - whole)]


def _of_mpt(heads: int, most: float) -> list[float]:
    whole = 2 ** math.ceil(math.log2(heads))
    slopes = [2.0 ** (-most * (place + 1) / whole) for place in range(whole)]
    return slopes if whole == heads else (slopes[1::2] + slopes[::2])[:heads]


def _scale(place: Place, width: int) -> float:
    given = getattr(getattr(place.config, "attn_config", None), "softmax_scale", None)
    return float(given) if isinstance(given, int | float) and given else width**-0.5


class AlibiJudge:
    """Checks the ALiBi slopes of one attention call.

    Args:
        place: The module.
        event: The call.
        rows: The kernel's weights.
        live: ``(batch, query)`` rows that count.
        outputs: What the projections of the forward gave, by module.
    """

    def __init__(
        self, place: Place, event: AttentionEvent, rows: KernelRows, live: Tensor, outputs: dict[int, Tensor]
    ) -> None:
        self.place, self.event, self.rows, self.outputs = place, event, rows, outputs
        weights = rows.weights.double()
        self.valid = (weights > LEAST) & live[:, None, :, None]
        self.logs = torch.where(self.valid, weights, 1.0).log()
        self.counts = self.valid.sum(-1, keepdim=True)
        self.valid = self.valid & (self.counts > 2)

    def judge(self, promise: Promise) -> NumberFinding:
        """Compare the measured slopes with the promised ones.

        Args:
            promise: A list of slopes, one a head.
        """
        shown = Promise("alibi", f"slopes {promise.value[0]:.4g} to {promise.value[-1]:.4g}", promise.source)
        slopes = torch.tensor(promise.value, dtype=torch.float64, device=self.logs.device)
        for query, key in self._read():
            scaled = (query.double() @ key[:, :, self.rows.keys].double().transpose(-1, -2)) * self._factor(query)
            rest = self._centred(self.logs - scaled)
            place = self._centred(self.rows.keys.double().expand_as(rest))
            found = (rest * place).sum((0, 2, 3)) / (place * place).sum((0, 2, 3)).clamp_min(1e-30)
            left = float((rest - found[None, :, None, None] * place).abs().max())
            if left > self._allowed(rest):
                continue
            wrong = ((found - slopes).abs() > 1e-4 + self._relative() * slopes).nonzero()
            if not len(wrong):
                return NumberFinding(shown, Status.HELD, f"slopes {float(found[0]):.4g} to {float(found[-1]):.4g}")
            head = int(wrong[0])
            message = f"head {head} has slope {float(found[head]):.4g}, promised {float(slopes[head]):.4g}"
            return NumberFinding(shown, Status.BROKEN, message, (0, head, 1, 0), float((found - slopes).abs().max()))
        return NumberFinding(shown, Status.NOT_DECIDABLE, "its queries and keys don't explain the kernel's weights")

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        call, module = self.event.call, self.event.module
        if not self.event.way.startswith("softmax"):
            groups = call.heads // call.kv_heads
            yield call.query, call.key.repeat_interleave(groups, 1)
            return
        like: Any = call.value
        if like is None or like.shape[1] != call.heads or like.shape[2] != call.n_queries:
            return
        children = dict(module.named_children())
        for name in JOINT:
            joint = self.outputs.get(id(children.get(name)))
            if joint is not None:
                yield from cut(joint, like, like)

    def _factor(self, query: Tensor) -> float:
        readable = not self.event.way.startswith("softmax")
        return self.event.call.scale if readable else _scale(self.place, query.shape[-1])

    def _relative(self) -> float:
        exact = self.event.call.value is not None and self.event.call.value.dtype == torch.float32
        return ROUNDED if self.place.model_type == "falcon" or not exact else 1e-3

    def _allowed(self, rest: Tensor) -> float:
        size = float(rest.abs().max())
        return 1e-3 + (ROUNDED * size if self._relative() == ROUNDED else 1e-5 * size)

    def _centred(self, values: Tensor) -> Tensor:
        values = torch.where(self.valid, values, 0.0)
        mean = values.sum(-1, keepdim=True) / self.counts.clamp_min(1)
        return torch.where(self.valid, values - mean, 0.0)
