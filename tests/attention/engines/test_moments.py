"""The records that engines return."""

import dataclasses

import pytest
import torch
from tests.cases import CASES

from heedful.attention.engines.dense import dense
from heedful.attention.engines.tiled import tiled


def test_empty_rows_are_counted_over_batch_and_heads() -> None:
    call = CASES["padded_left"]()
    assert dense(call).empty_rows == tiled(call).empty_rows == 4 * 12
    assert tiled(CASES["nothing_seen_at_all"]()).empty_rows == 2 * 4 * 37
    assert tiled(CASES["plain_causal"]()).empty_rows == 0


def test_records_are_frozen() -> None:
    found = dense(CASES["one_key"]())
    for record in (found, found.rows, found.keys):
        with pytest.raises(dataclasses.FrozenInstanceError):
            record.engine = "other"  # type: ignore[union-attr, misc]


def test_extras_are_absent_unless_asked_for() -> None:
    rows = tiled(CASES["plain_causal"]()).rows
    assert rows.group_mass is rows.group_visible is rows.distance_mass is rows.log_contrast is None


def test_row_moments_are_contiguous_and_apart() -> None:
    rows = tiled(CASES["plain_causal"]()).rows
    assert rows.entropy.is_contiguous() and rows.max_weight.is_contiguous()
    before = rows.max_weight.clone()
    rows.entropy.zero_()
    assert torch.equal(rows.max_weight, before)
