"""Find rows whose logits overflow the model's dtype: heedful can compute them, but must not judge them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.moments import Moments


@dataclass(frozen=True)
class Overflow:
    """Bool masks ``(batch, head, query)`` of the rows of a call that overflow its dtype.

    heedful computes in float32 or better. Its rows would describe weights that the model does not have where

    Attributes:
        rows: the largest logit is beyond the format, or the module's own output is not finite while the recomputed one
            is: no kernel that keeps logits in this format has such a row.
        products: products of query and key are beyond the format before they are scaled: a kernel that holds them in
            this format (eager attention) has no such row, a fused one may.
    """

    rows: Tensor
    products: Tensor


def overflow_of(call: AttentionCall, moments: Moments, output: Tensor) -> Overflow:
    """Find the rows of a call whose logits overflow its dtype or whose kernel output is not finite.

    Args:
        call: The call.
        moments: Its moments.
        output: ``(batch, head, query, value_dim)`` of the module's kernel.

    Returns:
        The rows concerned; rows that see no key, or are not finite in float32 either, are none of them.
    """
    rows, limit = moments.rows, torch.finfo(call.query.dtype).max
    sound = (rows.visible > 0) & torch.isfinite(rows.logsumexp) & torch.isfinite(rows.entropy)
    largest = (rows.logsumexp + rows.max_weight.log()).abs()
    beyond = largest > limit
    if moments.output is not None:
        beyond |= torch.isfinite(moments.output).all(-1) & ~torch.isfinite(output).all(-1)
    plain = call.bias is None and call.softcap is None and call.scale != 0.0
    products = largest / abs(call.scale) > limit if plain else torch.zeros_like(beyond)
    return Overflow(beyond & sound, products & sound)


def without_rows(call: AttentionCall, rows: Tensor) -> AttentionCall:
    """Return the call with the queries of ``rows`` set to NaN, which makes all results of those rows undefined.

    Args:
        call: The call.
        rows: ``(batch, head, query)`` bool.
    """
    return replace(call, query=call.query.masked_fill(rows[..., None], torch.nan))
