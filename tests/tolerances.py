"""Tolerances that are derived, not chosen: how far rounding alone moves each moment of a call.

``independent_errors`` runs the usual way (``oracles/attention_eager.py``: another algorithm, other summation orders) in
the precision of the statistics, on several draws of the inputs each perturbed by one rounding of that precision, and
takes the largest error against float64 on the unperturbed inputs. An engine of that precision cannot be expected to do
better than another correct program of the same precision, and must not do much worse: it gets ``MULTIPLE`` times that
error. A moment whose error happened to be 0 on all draws gets one rounding of its largest value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from tests.cases import plain
from tests.labels import plain_groups
from tests.oracles.attention_eager import eager_moments
from tests.oracles.attention_identities import identity_moments
from tests.oracles.group_loops import members
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense
from heedful.attention.engines.moments import Extras, Moments

DRAWS = 4
"""Perturbed inputs for one tolerance."""

MULTIPLE = 6
"""The largest error over a few draws against that of another summation order, seen once: both are extremes of the same
distribution, and extremes of a few hundred rounding errors seldom differ by more than this factor."""


BY_IDENTITIES = ("fused",)
"""Engines made of log-sum-exps."""

Program = Callable[..., dict[str, Tensor]]


def perturbed(tensor: Tensor | None, roundoff: float, generator: torch.Generator) -> Tensor | None:
    """Each element moved by a random share of one rounding."""
    if tensor is None:
        return None
    share = 2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1
    return tensor.double() * (1 + roundoff * share)


def flat_moments(moments: Moments) -> dict[str, Tensor]:
    """Every moment of a record by name, but for the counts."""
    found = {f.name: getattr(moments.rows, f.name) for f in fields(moments.rows) if not f.name.endswith("visible")}
    found |= {"received": moments.keys.received, "output": moments.output}
    return {name: value for name, value in found.items() if isinstance(value, Tensor) and value.is_floating_point()}


def independent_errors(
    call: AttentionCall, dtype: torch.dtype, extras: Extras | None = None, program: Program = eager_moments
) -> dict[str, float]:
    """Largest absolute error of each moment by an independent program in ``dtype``, over perturbed inputs."""
    truth = flat_moments(dense(call, extras))
    rules, n_queries, n_keys = call.visibility, call.n_queries, call.n_keys
    device = call.query.device
    seen = rules.block(0, n_queries, 0, n_keys, n_queries, n_keys, device)
    seen = seen.expand(call.batch, call.heads, -1, -1)
    first = rules.own_first_key(call.batch, n_queries, n_keys, device)
    generator = torch.Generator().manual_seed(5)
    roundoff = torch.finfo(dtype).eps / 2
    groups = None if extras is None or extras.groups is None else members(plain(call), plain_groups(extras.groups))
    worst: dict[str, float] = {}
    for _ in range(DRAWS):
        names = ("query", "key", "value", "bias")
        tensors: dict[str, Any] = {name: perturbed(getattr(call, name), roundoff, generator) for name in names}
        moved = replace(call, **tensors)
        for name, value in program(plain(moved), seen, call.offset, first, dtype, groups).items():
            if name not in truth:
                continue
            compared = truth[name][:, :, : value.shape[2]].double()
            error = (value.double() - compared).abs()[compared.isfinite()]
            worst[name] = max(worst.get(name, 0.0), float(error.max()) if error.numel() else 0.0)
    return worst


def tolerances(
    call: AttentionCall, dtype: torch.dtype, extras: Extras | None = None, *, engine: str = "tiled"
) -> dict[str, float]:
    """Absolute tolerance of each moment of one call for an engine that computes in ``dtype``.

    An engine of log-sum-exp identities is measured by a program of such identities beside the usual one, and its
    maximum weight may be too large by the bound it states: ``log(n) / 512`` in the logit.
    """
    roundoff = torch.finfo(dtype).eps / 2
    truth = flat_moments(dense(call, extras))
    found = {}
    errors = independent_errors(call, dtype, extras)
    if engine in BY_IDENTITIES:
        by_identities = independent_errors(call, dtype, extras, identity_moments)
        errors = {name: max(error, by_identities[name]) for name, error in errors.items()}
    if "own_segment_mass" in errors:  # each is one of the masses by segment, so their largest error is its own as well
        errors["own_segment_mass"] = errors["segment_mass"]
    for name, error in errors.items():
        finite = truth[name][truth[name].isfinite()]
        largest = float(finite.abs().max()) if finite.numel() else 0.0
        found[name] = max(MULTIPLE * error, roundoff * largest)
        if name == "max_weight" and engine in BY_IDENTITIES:
            found[name] += largest * math.expm1(math.log(call.n_keys) / 512)
    return found


def assert_close(found: Moments, truth: Moments, allowed: dict[str, float]) -> None:
    """Every moment within its tolerance, NaN and None exactly where the truth has them, counts equal.

    Raises:
        AssertionError: One is not, with its name, error and tolerance.
    """
    ours, theirs = flat_moments(found), flat_moments(truth)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        expected = theirs[name]
        assert value.shape == expected.shape, f"{name}: shape {tuple(value.shape)} is not {tuple(expected.shape)}"
        assert torch.equal(value.isnan(), expected.isnan()), f"{name}: NaN in other places"
        error = float((value.double() - expected.double()).nan_to_num().abs().max()) if value.numel() else 0.0
        assert error <= allowed.get(name, 0.0), f"{name}: off by {error:.3g}, allowed {allowed.get(name, 0.0):.3g}"
    for name in (f.name for f in fields(truth.rows) if f.name.endswith("visible")):
        ours_count, theirs_count = getattr(found.rows, name), getattr(truth.rows, name)
        assert (ours_count is None) == (theirs_count is None)
        assert ours_count is None or torch.equal(ours_count.double(), theirs_count.double()), name
    assert torch.equal(found.keys.seen_by, truth.keys.seen_by)
