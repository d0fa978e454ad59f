"""Arrays of divided heads made whole, and which arrays of which probes have heads at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tests.distributed.test_ranks import together
from tests.evaluation.material import batch_of, call_of, probed_call_of

from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.distributed.ranks import Ranks
from heedful.distributed.sharded import WITHOUT_HEADS, whole_heads
from heedful.evaluation.head_cards import pictured
from heedful.evaluation.probes import (
    distances,
    growth,
    integrity,
    query_variation,
    repeats,
    representations,
    row_statistics,
    same_token,
    token_groups,
)
from heedful.interception.held_heads import HeldHeads

HEADS = 5
PERIODS = torch.full((3,), 9)
PROBES = (
    row_statistics,
    growth,
    distances,
    token_groups,
    integrity,
    representations,
    query_variation,
    same_token(0),
    repeats(PERIODS, 0),
    pictured(8),
)


def test_arrays_without_heads_are_those_named() -> None:
    """Five heads, an axis that nothing else here has: an array that has no such axis must be named, and no other."""
    ids = torch.randint(0, 9, (3, 28), generator=torch.Generator().manual_seed(0))
    marks = torch.stack([ids == 1, ids == 2], dim=-1)
    extras = Extras(distances=True, contrast=True, groups=Groups(keys=marks))
    call = call_of(batch=3, heads=HEADS, length=28)
    probed = probed_call_of(call, batch_of(ids), entering=torch.randn(3, 28, 4), extras=extras)
    found: dict[str, Any] = {}
    for probe in PROBES:
        given = probe(probed)
        assert given, probe
        found |= given
    without = {name for name, array in found.items() if array.dim() < 2 or array.shape[1] != HEADS}
    assert without == set(WITHOUT_HEADS) and len(found) > 30


@pytest.mark.parametrize("count", [2, 3])
def test_heads_come_together_in_order_and_the_worst_of_the_rest(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    whole = {"mass": draw.normal(size=(4, 2 * count)), "distance_mass": draw.normal(size=(4, 2 * count, 3))}
    whole["mass"][1, 1] = np.nan
    whole["distance_mass"][2, 2 * count - 1, 0] = np.inf
    errors = draw.normal(size=(4, count))
    same = draw.normal(size=(4, 5))

    def work(ranks: Ranks) -> list[dict[str, Any]]:
        own = slice(2 * ranks.rank, 2 * ranks.rank + 2)
        values = {name: array[:, own] for name, array in whole.items()} | {"output_error": errors[:, ranks.rank]}
        return whole_heads([(HeldHeads(ranks.rank, count, None), values), (None, {"mass": same})], ranks, 4)

    for first, second in together(work, count, monkeypatch):
        for name, expected in whole.items():
            np.testing.assert_array_equal(first[name], expected)
        np.testing.assert_array_equal(first["output_error"], errors.max(axis=1))
        np.testing.assert_array_equal(second["mass"], same)


def test_own_heads_are_numbered_from_the_first_of_all() -> None:
    part = HeldHeads(1, 3, None)
    assert part.own_heads([0, 5, 3, 4, 2, 6], held=2) == [1, 0]
    torch.testing.assert_close(part.own(torch.arange(6)[None]), torch.tensor([[2, 3]]))
    assert dataclasses.replace(part, rank=0).own_heads([4], held=2) == []
