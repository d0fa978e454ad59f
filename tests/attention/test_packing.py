"""Packed documents: labels against loops, composition, and what cannot be a packing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import attention_call, document_ids

from heedful.attention.packing import NO_DOCUMENT
from heedful.attention.visibility import Visibility, bidirectional, causal, documents, padding
from heedful.errors import CallError

CPU = torch.device("cpu")


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
