"""Which keys a query sees: rules in blocks against loops."""

from __future__ import annotations

from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import CASES, attention_call, document_ids, plain, random_mask, real_tokens
from tests.oracles.attention_loops import is_seen

import heedful
from heedful.attention.call import AttentionCall
from heedful.attention.visibility import (
    NO_DOCUMENT,
    Visibility,
    bidirectional,
    causal,
    documents,
    masked,
    padding,
    tensor_of,
    visibility_of,
)
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


@given(
    n_queries=st.integers(1, 9),
    n_keys=st.integers(1, 9),
    is_causal=st.booleans(),
    window=st.none() | st.integers(1, 5),
    offset=st.none() | st.integers(-3, 9),
    named=st.booleans(),
    data=st.data(),
)
def test_own_first_key_is_the_first_that_any_query_of_the_document_sees(
    n_queries: int, n_keys: int, is_causal: bool, window: int | None, offset: int | None, named: bool, data: Any
) -> None:
    def draw(values: Any, length: int) -> torch.Tensor:
        return torch.tensor([data.draw(st.lists(values, min_size=length, max_size=length))])

    labels = st.integers(-2, 2)
    rules = Visibility(
        is_causal=is_causal,
        window=window,
        offset=offset,
        keys=draw(st.booleans(), n_keys),
        queries=draw(st.booleans(), n_queries),
        documents=draw(labels, n_keys),
        query_documents=draw(labels, n_queries) if named else None,
    )
    seen = rules.block(0, n_queries, 0, n_keys, n_queries, n_keys, CPU)[0, 0]
    own = rules._own_documents(n_queries, n_keys, CPU)[0]
    found = rules.own_first_key(1, n_queries, n_keys, CPU)[0]
    for i in range(n_queries):
        shown = seen[own == own[i]].any(0)
        assert int(found[i]) == (shown.tolist().index(True) if shown.any() else 0)
    assert rules.first_key(1, n_queries, n_keys, CPU).tolist() == [seen.any(0).to(torch.uint8).argmax().item()]


def test_points_are_the_block() -> None:
    call = attention_call(causal() & documents(document_ids()), queries=9, keys=37)
    block = call.visibility.block(0, 9, 0, 37, 9, 37, CPU)
    sequence, query, key = (index.flatten() for index in torch.meshgrid(*map(torch.arange, (2, 9, 37)), indexing="ij"))
    assert torch.equal(call.visibility.at(sequence, query, key, 9, 37), block[sequence, 0, query, key])


def test_two_packings_hide_what_either_hides() -> None:
    coarse, fine = torch.tensor([[1, 1, 1, 0, 0, 0]]), torch.tensor([[5, 5, 6, 6, 7, 7]])
    both = documents(coarse) & documents(fine) & bidirectional()
    expected = (coarse[0][:, None] == coarse[0]) & (fine[0][:, None] == fine[0])
    assert torch.equal(both.block(0, 6, 0, 6, 6, 6, CPU)[0, 0], expected)
    named = documents(coarse, coarse[:, :2]) & documents(fine, fine[:, :2])
    assert torch.equal(named.block(0, 2, 0, 6, 2, 6, CPU)[0, 0], expected[:2])


def test_rules_compose_in_any_order() -> None:
    rules = (causal(window=3), padding(torch.tensor([[0, 1, 1, 1, 1]])), documents(torch.tensor([[0, 0, 0, 1, 1]])))
    first, second = rules[0] & rules[1] & rules[2], rules[2] & rules[1] & rules[0]
    assert torch.equal(first.block(0, 5, 0, 5, 5, 5, CPU), second.block(0, 5, 0, 5, 5, 5, CPU))
    assert not first.only_causal() and not documents(torch.zeros(1, 5, dtype=torch.int64)).hides_nothing()


def test_parts_keep_their_documents() -> None:
    part = documents(document_ids(), document_ids()).part(slice(1, 2), slice(0, 4))
    assert part.documents is not None and torch.equal(part.documents, document_ids()[1:])
    assert part.query_documents is not None and torch.equal(part.query_documents, document_ids()[1:])


def test_a_query_beside_every_key_has_no_document() -> None:
    rules = documents(torch.tensor([[-1, 0]]))
    assert rules._own_documents(3, 2, CPU).tolist() == [[NO_DOCUMENT, -1, 0]]
    assert not rules.block(0, 1, 0, 2, 3, 2, CPU).any()


def test_without_documents_every_row_has_the_first_key_of_its_sequence() -> None:
    rules = causal() & padding(torch.tensor([[0, 0, 1], [1, 1, 1]]))
    assert rules.own_first_key(2, 3, 3, CPU).tolist() == [[2, 2, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: documents(torch.zeros(1, 4)), "documents: expected integer labels"),
        (lambda: documents(torch.zeros(4, dtype=torch.int64)), "documents: expected integer labels"),
        (lambda: Visibility(query_documents=torch.zeros(1, 4, dtype=torch.int64)), "expected documents of the keys"),
        (lambda: causal()._own_documents(3, 3, CPU), "name no documents"),
        (lambda: documents(document_ids()) & documents(document_ids(30)), "whose shapes differ"),
        (lambda: documents(document_ids()) & documents(document_ids(), document_ids()), "whose shapes differ"),
        (lambda: attention_call(causal() & documents(document_ids(30))), r"documents: expected \(2, 37\)"),
        (
            lambda: attention_call(bidirectional() & documents(document_ids()), queries=19, keys=37),
            "share no positions with the keys here; give query_ids",
        ),
    ],
)
def test_what_cannot_be_a_packing(build: Any, message: str) -> None:
    with pytest.raises(CallError, match=message):
        build()


def test_a_tensor_is_returned_as_it_is_and_none_stays_none() -> None:
    tensor = torch.zeros(2)
    assert tensor_of("a", tensor) is tensor and tensor_of("a", None) is None
    assert torch.equal(tensor_of("a", np.ones((2, 3), dtype=np.float32)[:, ::-1]), torch.ones(2, 3))


@pytest.mark.parametrize("given", ["a", 3, {}, np.array([object()]), [[1], [2, 3]]])
def test_what_is_no_tensor_is_refused(given: object) -> None:
    with pytest.raises(CallError, match="a: expected a tensor"):
        tensor_of("a", given)


def test_words_and_masks_are_rules() -> None:
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    assert visibility_of("causal") == heedful.causal() and visibility_of("bidirectional") == heedful.bidirectional()
    assert visibility_of(heedful.causal(window=2)) == heedful.causal(window=2)
    for form in (mask, mask.numpy(), mask.tolist()):
        assert torch.equal(visibility_of(form).mask, mask[None, None])


@pytest.mark.parametrize("given", ["casual", None, True, 3, heedful.causal, {"causal": True}])
def test_what_is_no_rule_is_refused_with_what_is(given: object) -> None:
    with pytest.raises(CallError, match="expected 'causal', 'bidirectional', a bool tensor"):
        visibility_of(given)


def test_an_additive_mask_is_told_apart_from_a_bool_one() -> None:
    with pytest.raises(CallError, match=r"got torch.float32 \(additive masks of 0 and -inf: mask == 0"):
        visibility_of(torch.zeros(4, 4))


def test_numbers_are_those_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 4).unbind(0)
    wanted = heedful.measure(query, key, value)
    mask = np.tril(np.ones((5, 5), dtype=bool))
    for visibility in ("causal", mask, torch.from_numpy(mask)):
        found = heedful.measure(query.numpy(), key.numpy(), value.numpy(), visibility=visibility)
        assert torch.allclose(found.output, wanted.output) and torch.allclose(found.rows.entropy, wanted.rows.entropy)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the annotations name what it makes of them
    call = AttentionCall(query=query.numpy(), key=key.numpy(), visibility="bidirectional")  # type: ignore[arg-type]
    assert isinstance(call.visibility, Visibility) and isinstance(call.query, torch.Tensor)


def test_a_list_of_float64_keeps_its_numbers() -> None:
    assert tensor_of("a", [0.1, 0.2]).dtype == torch.float64
