"""How a call is cut, and what blocks share."""

import pytest
import torch
from tests.cases import CASES, attention_call

from heedful.attention.engines.blocks import CPU_ELEMENTS, LEAST_ROWS, MOST_ROWS, BlockPart, Scratch, Tail, plan
from heedful.attention.visibility import causal


@pytest.mark.parametrize("name", ["plain_causal", "grouped_heads", "window_causal", "everything", "one_key"])
def test_a_plan_covers_each_row_once(name: str) -> None:
    call = CASES[name]()
    for elements in (1, 700, 10_000, None):
        seen = torch.zeros(call.batch, call.kv_heads, dtype=torch.int64)
        for batch, heads, rows in plan(call, elements):
            seen[batch, heads] += 1
            assert 1 <= rows <= call.n_queries
        assert (seen == 1).all()


def test_blocks_stay_within_the_budget_where_rows_allow_it() -> None:
    for length in (64, 512, 2048, 8192):
        call = attention_call(batch=2, heads=4, queries=length, dim=1)
        for batch, heads, rows in plan(call):
            held = (batch.stop - batch.start) * (heads.stop - heads.start) * rows * length
            assert held <= CPU_ELEMENTS
            assert min(LEAST_ROWS, length) <= rows <= MOST_ROWS


def test_a_window_allows_more_rows() -> None:
    wide, narrow = (attention_call(visibility, queries=600, dim=1) for visibility in (causal(), causal(window=8)))
    assert max(rows for *_, rows in plan(narrow, 30_000)) > max(rows for *_, rows in plan(wide, 30_000))


def test_a_part_is_cut_with_its_heads() -> None:
    call = CASES["everything"]()
    first = torch.tensor([[0], [33]]).expand(2, call.n_queries)
    part = BlockPart.of(call, (slice(1, 2), slice(1, 2)), torch.float32, first, None)
    assert part.target == (slice(1, 2), slice(2, 4))
    assert torch.equal(part.call.key, call.key[1:2, 1:2]) and torch.equal(part.call.query, call.query[1:2, 2:4])
    assert call.bias is not None and part.call.bias is not None and call.sink is not None and part.call.sink is not None
    assert torch.equal(part.call.bias, call.bias[:, 2:4]) and torch.equal(part.call.sink, call.sink[2:4])
    assert part.first.unique().tolist() == [33]
    assert part.position is not None and part.position[0, :3, 0].tolist() == [-33, -32, -31]


def test_scratch_is_not_allocated_anew() -> None:
    scratch = Scratch(torch.float32, torch.device("cpu"))
    first, other = scratch.take(0, (4, 5)), scratch.take(1, (4, 5))
    again = scratch.take(0, (2, 3))
    assert again.data_ptr() == first.data_ptr() != other.data_ptr()
    assert again.is_contiguous() and scratch.take(0, (100,)).shape == (100,)


@pytest.mark.parametrize("rows", [10, 16, 40])
def test_the_tail_pairs_rows_of_neighbouring_blocks(rows: int) -> None:
    """Window-like blocks: each reads keys that begin later than those of the block before."""
    weights = torch.rand(1, 2, 40, 60)
    scratch, tail = Scratch(torch.float32, torch.device("cpu")), Tail()
    found = {lag: torch.full((1, 2, 40), torch.nan) for lag in (1, 10)}
    for begin in range(0, 40, rows):
        end, first, last = min(begin + rows, 40), begin // 2, begin // 2 + 40
        weights[:, :, begin:end, :first] = weights[:, :, begin:end, last:] = 0
        for lag, start, products in tail.products(weights[:, :, begin:end, first:last], begin, first, scratch):
            found[lag][:, :, start : start + products.shape[2]] = products
    for lag, products in found.items():
        expected = (weights[:, :, :-lag] * weights[:, :, lag:]).sum(-1)
        torch.testing.assert_close(products[:, :, :-lag], expected)
        assert products[:, :, -lag:].isnan().all()
