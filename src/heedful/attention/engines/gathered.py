"""Accumulate row and key sums of attention weights over all blocks, and convert them to moments (entropy, mass and
others).

Blocks are many and their rows few, so what can be done for all rows at once is done here, at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heedful.attention.axes import LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.moments import KeyMoments, Moments, RowMoments

LN2 = math.log(2.0)

SUMS = ("size", "raw", "peak", "top", "surprise", "collision", "position", "adjacent", "distant")
"""Sums of one row's un-normalised weights ``w = 2 ** (logit - peak)``, in the order in which they are stored: the
normaliser, the same without the sink, the peak, the largest ``w``, ``sum w (logit - peak)``, ``sum w^2``, ``sum w
position``, and ``w_i . w_(i + lag)`` for both lags."""

NEAR = 2 * LOCAL_DISTANCE + 1
"""Weights kept of every row: those from 5 keys before to 5 keys after its own, then that of the first key."""


@dataclass(frozen=True)
class Gathered:
    """Row sums, key sums and outputs of a whole call, filled block by block and then converted to moments.

    Attributes:
        sums: ``(sum, batch, head, query)`` in the order of ``SUMS``.
        near: ``(batch, head, query, NEAR + 1)`` un-normalised weights around the own position and on the first key; NaN
            at the key before where it is not seen.
        visible: ``(batch, head, query)`` int64.
        received: ``(batch, head, key)``.
        seen_by: ``(batch, head, key)`` int64.
        output: ``(batch, head, query, value_dim)``, un-normalised until the moments are taken, or None.
        extras: Further row moments by name, made when first stored.
    """

    sums: Tensor
    near: Tensor
    visible: Tensor
    received: Tensor
    seen_by: Tensor
    output: Tensor | None
    extras: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, call: AttentionCall, dtype: torch.dtype) -> Gathered:
        """Allocate the arrays for the row sums, key sums and outputs of one call."""
        device = call.query.device
        rows, keys = (call.batch, call.heads, call.n_queries), (call.batch, call.heads, call.n_keys)
        return cls(
            sums=torch.full((len(SUMS), *rows), math.nan, dtype=dtype, device=device),
            near=torch.zeros(*rows, NEAR + 1, dtype=dtype, device=device),
            visible=torch.zeros(rows, dtype=torch.int64, device=device),
            received=torch.zeros(keys, dtype=dtype, device=device),
            seen_by=torch.zeros(keys, dtype=torch.int64, device=device),
            output=None if call.value is None else torch.zeros(*rows, call.value.shape[-1], dtype=dtype, device=device),
        )

    def add_extra(self, name: str, value: Tensor, target: tuple[slice, slice], span: slice) -> None:
        """Store ``(batch, head, query, ...)`` values of one block under ``name``."""
        if name not in self.extras:
            shape = (*self.visible.shape, *value.shape[3:])
            self.extras[name] = torch.full(shape, math.nan, dtype=value.dtype, device=value.device)
        self.extras[name][(*target, span)] = value

    def moments(self, call: AttentionCall, engine: str) -> Moments:
        """Return the moments of the call, after all blocks are done."""
        if call.visibility.only_causal() or call.visibility.hides_nothing():
            self._count(call)
        sums = dict(zip(SUMS, self.sums.unbind(0), strict=True))
        empty = self.visible == 0
        inverse = sums["size"].reciprocal()
        known = inverse.masked_fill(empty, math.nan)
        log_size = sums["size"].log()
        total = (sums["raw"] / sums["size"]).masked_fill(empty, math.nan)
        rows = RowMoments(
            visible=self.visible,
            logsumexp=(log_size + sums["peak"] * LN2).masked_fill(empty, math.nan),
            total=total,
            entropy=(total * log_size - sums["surprise"] * LN2 * known).clamp_min(0),
            max_weight=sums["top"] * known,
            collision=sums["collision"] * known**2,
            mean_position=sums["position"] * known,
            first_mass=self.near[..., NEAR] * known,
            lag_overlap=_overlap(sums["adjacent"], known, LAGS[0]),
            distant_overlap=_overlap(sums["distant"], known, LAGS[1]),
            n_keys=call.n_keys,
            has_sink=call.sink is not None,
            none_empty=False,
            **self._around(call, known),
            **self.extras,
        )
        if self.output is not None:
            self.output.mul_(inverse.masked_fill(empty, 0.0)[..., None])
        return Moments(rows, KeyMoments(self.received, self.seen_by), self.output, engine)

    def _count(self, call: AttentionCall) -> None:
        """Visible counts where the causal rule is the only one, or there is none."""
        query = torch.arange(call.n_queries, device=self.visible.device)
        key = torch.arange(call.n_keys, device=self.visible.device)
        if call.visibility.is_causal:
            start = call.visibility.start(call.n_queries, call.n_keys)
            self.visible.copy_((query + start + 1).clamp(0, call.n_keys))
            self.seen_by.copy_(call.n_queries - (key - start).clamp(0, call.n_queries))
        else:
            self.visible.fill_(call.n_keys)
            self.seen_by.fill_(call.n_queries)

    def _around(self, call: AttentionCall, known: Tensor) -> dict[str, Tensor]:
        """Weight on the query's own position, on the one before, and on all within the local distance."""
        if call.offset is None:
            return {name: torch.full_like(known, math.nan) for name in ("self_mass", "previous_mass", "local_mass")}
        near = self.near[..., :NEAR]
        before = torch.arange(call.n_queries, device=known.device) + call.offset - 1
        previous = near[..., LOCAL_DISTANCE - 1] * known
        return {
            "self_mass": near[..., LOCAL_DISTANCE] * known,
            "previous_mass": previous.masked_fill((before < 0) | (before >= call.n_keys), math.nan),
            "local_mass": near.nansum(-1) * known,
        }


def _overlap(products: Tensor, known: Tensor, lag: int) -> Tensor:
    """``A_i . A_(i + lag)`` from products of un-normalised rows; NaN where there is no later row or either is empty."""
    found = torch.full_like(products, math.nan)
    if products.shape[-1] > lag:
        found[..., :-lag] = products[..., :-lag] * known[..., :-lag] * known[..., lag:]
    return found
