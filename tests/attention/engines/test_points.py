"""Chosen logits, rows and blocks against the materialised matrix."""

from typing import Any

import pytest
import torch
from tests.cases import CASES, attention_call

import heedful.attention.engines.points as points_module
from heedful.attention.engines.dense import dense_logits, dense_weights
from heedful.attention.engines.points import block_at, logits_at, logits_of, rows_at, seen_at, sharing_logits
from heedful.errors import CallError

# Rounding of one dot product of 8 numbers in float32, on logits and weights of the cases' size.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("name", CASES)
def test_points_are_elements_of_the_logits(name: str) -> None:
    call = CASES[name]()
    generator = torch.Generator().manual_seed(2)
    sequence, query, key = (
        torch.randint(size, (50,), generator=generator) for size in (call.batch, call.n_queries, call.n_keys)
    )
    found = logits_at(call, sequence, query, key)
    truth = dense_logits(call)[sequence, :, query, key].T
    shown = truth.isfinite()
    assert found.shape == (call.heads, 50)
    torch.testing.assert_close(found.double()[shown], truth[shown], **CLOSE)
    assert found.isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_rows_and_blocks_are_rows_of_the_weights(name: str) -> None:
    call = CASES[name]()
    truth = dense_weights(call)
    queries = torch.tensor([call.n_queries - 1, 0, call.n_queries // 2])
    torch.testing.assert_close(rows_at(call, queries).double(), truth[:, :, queries], equal_nan=True, **CLOSE)
    begin, end = call.n_queries // 3, call.n_queries
    torch.testing.assert_close(block_at(call, begin, end).double(), truth[:, :, begin:end], equal_nan=True, **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_seen_is_where_the_logits_are_finite(name: str) -> None:
    call = CASES[name]()
    queries = torch.tensor([0, call.n_queries - 1])
    seen = seen_at(call, queries).expand(call.batch, call.heads, 2, call.n_keys)
    assert torch.equal(seen, ~dense_logits(call)[:, :, queries].isneginf())


@pytest.mark.parametrize("name", CASES)
def test_visibility_of_points(name: str) -> None:
    call = CASES[name]()
    generator = torch.Generator().manual_seed(2)
    sequence, query, key = (
        torch.randint(size, (80,), generator=generator) for size in (call.batch, call.n_queries, call.n_keys)
    )
    found = call.visibility.at(sequence, query, key, call.n_queries, call.n_keys)
    assert torch.equal(found, ~dense_logits(call)[sequence, 0, query, key].isneginf())


def test_index_tensors_of_different_lengths() -> None:
    with pytest.raises(CallError, match=r"three index tensors of one length, got \(2,\), \(3,\), \(3,\)"):
        logits_at(attention_call(), torch.zeros(2).long(), torch.zeros(3).long(), torch.zeros(3).long())


def test_autocast_does_not_reach_points() -> None:
    call = attention_call()
    rows = torch.arange(5)
    expected, points = rows_at(call, rows), logits_at(call, rows * 0, rows, rows)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rows_at(call, rows), expected)
        assert torch.equal(logits_at(call, rows * 0, rows, rows), points)


@pytest.mark.parametrize("name", CASES)
def test_shared_logits_are_the_same_logits(name: str) -> None:
    """Every way of asking gives what it gives alone, to rounding, and another call is not touched."""
    call, other = CASES[name](), CASES[name]()
    generator = torch.Generator().manual_seed(3)
    points = [torch.randint(size, (40,), generator=generator) for size in (call.batch, call.n_queries, call.n_keys)]
    queries = torch.tensor([call.n_queries - 1, 0])
    end = call.n_queries

    def asked() -> list[torch.Tensor]:
        return [
            logits_at(call, *points),
            rows_at(call, queries),
            block_at(call, end // 2, end),
            logits_of(call, 0, end),
        ]

    alone = asked()
    with sharing_logits(call):
        for found, expected in zip(asked(), alone, strict=True):
            torch.testing.assert_close(found, expected, equal_nan=True, **CLOSE)
        torch.testing.assert_close(logits_at(other, *points), alone[0], **CLOSE)


def test_shared_logits_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    call, count = CASES["plain_causal"](), 0
    inner = points_module._computed

    def counted(*args: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        return inner(*args)

    monkeypatch.setattr(points_module, "_computed", counted)
    with sharing_logits(call):
        for _ in range(3):
            rows_at(call, torch.tensor([1, 0]))
            logits_at(call, *[torch.zeros(2, dtype=torch.long)] * 3)
    assert count == 1
    monkeypatch.setattr(points_module, "MOST_CELLS", 1)
    with sharing_logits(call):
        rows_at(call, torch.tensor([1]))
        rows_at(call, torch.tensor([1]))
    assert count == 3
