"""The log-sum-exp identities by materialised logits in a chosen precision, line by line and without any centring.

Independent of the engines. Differences of log-sum-exps lose digits that sums of weights keep: what this program is off
by against float64 is what the identities themselves cost in that precision. Weights of single keys come from products
of their own, not from those inside the log-sum-exp, since a kernel does not show these. The maximum is taken as it is:
the error of a maximum that comes from a sharpened log-sum-exp is a stated bound, and no rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from tests.oracles.attention_eager import eager_moments
from torch import Tensor


def identity_moments(
    call: dict[str, Any],
    seen: Tensor,
    start: int | None,
    first: Tensor,
    dtype: torch.dtype,
    groups: dict[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Moments of one call with every array in ``dtype``; arguments as of ``eager_moments``."""
    heads = call["query"].shape[1]
    query = torch.as_tensor(call["query"]).to(dtype)
    key = torch.as_tensor(call["key"]).to(dtype).repeat_interleave(heads // call["key"].shape[1], dim=1)

    def size_of(vectors: Tensor, shown: Tensor, factor: float = 1.0) -> Tensor:
        logits = (factor * call["scale"]) * (vectors @ key.transpose(-1, -2))
        return torch.logsumexp(logits.masked_fill(~shown, -torch.inf), dim=-1)

    found = eager_moments(call, seen, start, first, dtype, groups)
    empty = ~seen.any(-1)
    size = size_of(query, seen)
    products = call["scale"] * (query[:, :, :, None] * key[:, :, None]).sum(-1)
    weight = (products.masked_fill(~seen, -torch.inf) - size[..., None]).exp().masked_fill(empty[..., None], torch.nan)
    position = torch.arange(seen.shape[-1])
    found |= {
        "entropy": size - call["scale"] * (query * (weight @ key)).sum(-1),
        "max_weight": weight.amax(-1),
        "collision": (size_of(query, seen, 2.0) - 2 * size).exp(),
        "first_mass": (weight * (position == first[..., None])[:, None]).sum(-1),
        "received": weight.nan_to_num().sum(-2),
    }
    for name in ("same_token", "induction"):
        if groups is not None and name in groups:
            found[f"{name}_mass"] = (weight * torch.as_tensor(groups[name]).to(dtype)[:, None]).sum(-1)
    for name, lag in (("lag_overlap", 1), ("distant_overlap", 10)):
        early, late = slice(None, -lag), slice(lag, None)
        both = size_of(query[:, :, early] + query[:, :, late], seen[:, :, early] & seen[:, :, late])
        found[name] = (both - size[:, :, early] - size[:, :, late]).exp()
    if start is not None:
        away = torch.arange(seen.shape[2])[:, None] + start - position
        near = {"self_mass": away == 0, "previous_mass": away == 1, "local_mass": away.abs() <= 5}
        found |= {name: (weight * chosen).sum(-1) for name, chosen in near.items()}
    return found
