"""Which keys a query sees: rules in blocks against loops."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import CASES, plain, random_mask, real_tokens
from tests.oracles.attention_loops import is_seen

from heedful.attention.visibility import Visibility, bidirectional, causal, masked, padding
from heedful.errors import CallError

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", CASES)
def test_blocks_are_the_rules(name: str) -> None:
    call = CASES[name]()
    n_queries, n_keys, arrays = call.n_queries, call.n_keys, plain(call)
    begin, end = n_queries // 3, n_queries
    first, last = n_keys // 4, n_keys
    block = call.visibility.block(begin, end, first, last, n_queries, n_keys, CPU)
    block = block.expand(call.batch, call.heads, -1, -1)
    assert block.shape == (call.batch, call.heads, end - begin, last - first)
    for b, h in ((0, 0), (call.batch - 1, call.heads - 1)):
        for i in range(begin, end):
            expected = [is_seen(arrays, b, h, i, j) for j in range(first, last)]
            assert block[b, h, i - begin].tolist() == expected


@pytest.mark.parametrize("name", CASES)
def test_key_range_leaves_out_nothing_that_is_seen(name: str) -> None:
    call = CASES[name]()
    n_queries, n_keys = call.n_queries, call.n_keys
    seen = call.visibility.block(0, n_queries, 0, n_keys, n_queries, n_keys, CPU)
    for begin in range(0, n_queries, 7):
        end = min(begin + 7, n_queries)
        first, last = call.visibility.key_range(begin, end, n_queries, n_keys)
        assert 0 <= first <= last <= n_keys
        outside = torch.ones(n_keys, dtype=torch.bool)
        outside[first:last] = False
        assert not seen[:, :, begin:end, outside].any()


@given(
    n_queries=st.integers(1, 12),
    n_keys=st.integers(1, 12),
    is_causal=st.booleans(),
    window=st.none() | st.integers(1, 6),
    offset=st.none() | st.integers(-4, 14),
    data=st.data(),
)
def test_first_key_is_the_first_that_any_query_sees(
    n_queries: int, n_keys: int, is_causal: bool, window: int | None, offset: int | None, data: Any
) -> None:
    keys = torch.tensor([data.draw(st.lists(st.booleans(), min_size=n_keys, max_size=n_keys))])
    queries = torch.tensor([data.draw(st.lists(st.booleans(), min_size=n_queries, max_size=n_queries))])
    rules = Visibility(is_causal=is_causal, window=window, offset=offset, keys=keys, queries=queries)
    seen = rules.block(0, n_queries, 0, n_keys, n_queries, n_keys, CPU)[0, 0].any(0)
    expected = seen.tolist().index(True) if seen.any() else 0
    assert rules.first_key(1, n_queries, n_keys, CPU).tolist() == [expected]


def test_first_key_of_masks() -> None:
    mask = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
    mask[0, 2, 3, 4] = mask[0, 1, 0, 2] = mask[1, 0, 0, 3] = True
    assert masked(mask).first_key(2, 4, 5, CPU).tolist() == [2, 3]
    keys = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]])
    both = masked(mask) & padding(keys, queries=False)
    assert both.first_key(2, 4, 5, CPU).tolist() == [4, 3]
    assert masked(torch.ones(4, 5, dtype=torch.bool)).first_key(2, 4, 5, CPU).tolist() == [0, 0]


def test_and_keeps_every_rule() -> None:
    mask, other = random_mask(1, 1, 4, 4), random_mask(1, 1, 4, 4, seed=8)
    both = causal(window=2) & padding(torch.tensor([[0, 1, 1, 1]])) & masked(mask) & masked(other)
    assert both.is_causal and both.window == 2
    block = both.block(0, 4, 0, 4, 4, 4, CPU)
    keys = torch.tensor([False, True, True, True])
    distance = torch.arange(4)[:, None] - torch.arange(4)
    expected = (distance >= 0) & (distance < 2) & keys & keys[:, None] & mask[0, 0] & other[0, 0]
    assert torch.equal(block[0, 0], expected)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (causal(window=2), causal(window=3), "two different values of window: 2 and 3"),
        (causal(offset=0), Visibility(offset=5), "two different values of offset: 0 and 5"),
    ],
)
def test_and_refuses_two_values_of_one_rule(left: Visibility, right: Visibility, message: str) -> None:
    with pytest.raises(CallError, match=message):
        left & right


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "window: expected at least 1 key, got 0"),
        ({"mask": torch.zeros(3, 3)}, r"visibility.mask: expected a bool tensor .* got torch.float32"),
        ({"keys": torch.ones(3, dtype=torch.bool)}, r"visibility.keys: expected \(2,\) dimensions, got shape \(3,\)"),
        ({"queries": torch.ones(1, 3)}, r"visibility.queries: expected a bool tensor"),
        ({"mask": torch.ones(1, 1, 1, 3, 3, dtype=torch.bool)}, r"visibility.mask: expected \(2, 3, 4\) dimensions"),
    ],
)
def test_what_cannot_be_a_rule(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        Visibility(**arguments)


def test_parts() -> None:
    rules = masked(random_mask(3, 4, 5, 5)) & padding(real_tokens((0, 1, 2), (0, 0, 0), 5))
    part = rules.part(slice(1, 3), slice(2, 4))
    whole = rules.block(0, 5, 0, 5, 5, 5, CPU).expand(3, 4, 5, 5)
    assert torch.equal(part.block(0, 5, 0, 5, 5, 5, CPU).expand(2, 2, 5, 5), whole[1:3, 2:4])


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("rule", ["window", "keys", "queries", "mask", "documents"])
def test_each_rule_hides_something(rule: str, is_causal: bool) -> None:
    real = torch.tensor([[True, False, True]])
    value = {"window": 1, "mask": real[None, None], "documents": torch.tensor([[0, 1, 1]])}.get(rule, real)
    rules = Visibility(is_causal=is_causal, **{rule: value})  # type: ignore[arg-type]
    assert not rules.only_causal() and not rules.hides_nothing()
    whole = Visibility(is_causal=is_causal)
    assert whole.only_causal() == is_causal and whole.hides_nothing() != is_causal
    seen, more = (one.block(0, 3, 0, 3, 3, 3, CPU) for one in (rules, whole))
    assert not torch.equal(seen.expand(1, 1, 3, 3), more)


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (1, 1, 4, 5), (2, 1, 1, 5), (1, 1, 4, 1), (2, 1, 4, 1), (1, 3, 1, 5)])
@pytest.mark.parametrize("rules", [bidirectional(), causal(), causal(window=2, offset=1)])
def test_points_are_entries_of_the_block(rules: Visibility, shape: tuple[int, ...]) -> None:
    both = rules & masked(random_mask(*shape, share=0.5))
    block = both.block(0, 4, 0, 5, 4, 5, CPU).expand(2, -1, -1, -1)[:, 0]
    sequence, query, key = (index.flatten() for index in torch.meshgrid(*map(torch.arange, (2, 4, 5)), indexing="ij"))
    assert torch.equal(both.at(sequence, query, key, 4, 5), block.flatten())


def test_words_about_rules() -> None:
    assert causal().only_causal() and not causal(window=3).only_causal() and not bidirectional().only_causal()
    assert bidirectional().hides_nothing() and not causal().hides_nothing()
    assert not (bidirectional() & padding(torch.ones(1, 3))).hides_nothing()
    assert padding(torch.tensor([[0, 2, 1]])).keys.tolist() == [[False, True, True]]  # type: ignore[union-attr]
    assert padding(torch.ones(1, 3), queries=False).queries is None
