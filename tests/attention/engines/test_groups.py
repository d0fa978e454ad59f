"""Masses on keys by what they are: closed forms, laws of the sums, memory, and labels that do not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.cases import LENGTH, attention_call, document_ids, real_tokens
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.fused import add_groups
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.measure import ENGINES, measure
from heedful.attention.engines.moments import Extras, RowMoments
from heedful.attention.visibility import bidirectional, causal, documents, masked, padding
from heedful.errors import CallError, UsageError

NAN = float("nan")
EVERY = pytest.mark.parametrize("engine", ENGINES)


def rows_of(engine: str, call: AttentionCall, **labels: Any) -> RowMoments:
    return ENGINES[engine](call, Extras(groups=Groups(**labels))).rows


def uniform(tokens: list[int], **rules: Any) -> tuple[AttentionCall, Tensor]:
    """A call whose every visible key weighs the same, and its token ids."""
    return attention_call(batch=1, heads=1, queries=len(tokens), size=0.0, **rules), torch.tensor([tokens])


def same(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(
        found[0, 0].double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-6, equal_nan=True
    )


@EVERY
def test_same_token_leaves_itself_out(engine: str) -> None:
    call, tokens = uniform([5, 3, 5, 5, -1, 3])
    rows = rows_of(engine, call, tokens=tokens)
    same(rows.same_token_mass, [0, 0, 1 / 3, 2 / 4, NAN, 1 / 6])
    same(rows.same_token_visible, [0, 0, 1, 2, 0, 1])
    both_ways, _ = uniform([5, 3, 5, 5, -1, 3], visibility=bidirectional())
    same(rows_of(engine, both_ways, tokens=tokens).same_token_visible, [2, 1, 2, 2, 0, 1])


@EVERY
def test_induction_is_what_followed_the_token_before(engine: str) -> None:
    call, tokens = uniform([5, 3, 5, 5, 3, -1, 3])
    rows = rows_of(engine, call, tokens=tokens)
    # 5 at 2 was followed by 1; 5 at 3 by 1 and by itself; 3 at 4 by 2; 3 at 6 by 2 and by 5, whatever that is.
    same(rows.induction_visible, [0, 0, 1, 2, 1, 0, 2])
    same(rows.induction_mass, [0, 0, 1 / 3, 2 / 4, 1 / 5, NAN, 2 / 7])
    both_ways, _ = uniform([5, 3, 5, 5, 3, -1, 3], visibility=bidirectional())
    same(rows_of(engine, both_ways, tokens=tokens).induction_visible, [0, 0, 1, 2, 1, 0, 2])


@EVERY
def test_padding_and_other_documents_are_no_occurrence(engine: str) -> None:
    tokens = torch.tensor([[7, 4, 7, 9, 7, 4]])
    padded = padding(torch.tensor([[0, 1, 1, 1, 1, 1]]))
    call, _ = uniform([0] * 6, visibility=causal() & padded)
    same(rows_of(engine, call, tokens=tokens).induction_visible, [0, 0, 0, 0, 1, 1])
    packed, _ = uniform([0] * 6, visibility=causal() & documents(torch.tensor([[1, 1, 1, 2, 2, 2]])))
    same(rows_of(engine, packed, tokens=tokens).induction_visible, [0, 0, 1, 0, 0, 0])


@EVERY
def test_own_segment_is_one_of_the_segments(engine: str) -> None:
    call, segments = uniform([0, 0, 1, -1, 1, 0])
    rows = rows_of(engine, call, segments=segments)
    same(rows.own_segment_mass, [1, 1, 1 / 3, NAN, 2 / 5, 3 / 6])
    same(rows.own_segment_visible, [1, 2, 1, 0, 2, 3])
    same(rows.segment_mass[..., 1], [0, 0, 1 / 3, 1 / 4, 2 / 5, 2 / 6])  # type: ignore[index]


@EVERY
def test_a_segment_that_no_key_has_gets_nothing(engine: str) -> None:
    call, segments = uniform([0, 0, 1, 1, 0, 1])
    rows = rows_of(engine, call, segments=segments, query_segments=torch.tensor([[0, 2, 1, 7, -1, 1]]))
    same(rows.own_segment_mass, [1, 0, 1 / 3, 0, NAN, 3 / 6])
    same(rows.own_segment_visible, [1, 0, 1, 0, 0, 3])
    hidden, _ = uniform([0] * 6, visibility=causal() & masked(torch.tensor([[0, 0, 1, 1, 1, 1]]).bool()))
    rows = rows_of(engine, hidden, segments=segments, query_segments=torch.full((1, 6), 4))
    same(rows.own_segment_mass, [NAN, NAN, 0, 0, 0, 0])


@EVERY
def test_a_packed_documents_own_segment_has_all(engine: str) -> None:
    labels = torch.unique(document_ids(), return_inverse=True)[1]
    rows = rows_of(engine, attention_call(causal() & documents(document_ids())), segments=labels)
    torch.testing.assert_close(rows.own_segment_mass, torch.ones_like(rows.own_segment_mass))  # type: ignore[arg-type]
    assert torch.equal(rows.own_segment_visible.long(), rows.visible)  # type: ignore[union-attr]


@EVERY
def test_groups_that_part_the_keys_sum_to_the_total(engine: str) -> None:
    call = attention_call(causal() & padding(real_tokens(left=(0, 12))), heads=6, kv_heads=2)
    ids = torch.arange(LENGTH).remainder(70 if engine == "fused" else 3).expand(2, -1)
    rows = rows_of(engine, call, keys=ids)
    torch.testing.assert_close(rows.group_mass.sum(-1), rows.total, equal_nan=True)  # type: ignore[union-attr]
    assert torch.equal(rows.group_visible.sum(-1).long(), rows.visible)  # type: ignore[union-attr]


@EVERY
def test_tokens_all_alike_take_all_but_the_own_position(engine: str) -> None:
    call = attention_call(masked(torch.rand(1, 4, LENGTH, LENGTH, generator=torch.Generator().manual_seed(1)) < 0.5))
    rows = rows_of(engine, call, tokens=torch.zeros(2, LENGTH, dtype=torch.int64))
    torch.testing.assert_close(rows.same_token_mass, rows.total - rows.self_mass, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_pairs_in_chunks_are_pairs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    call = attention_call(causal(window=9) & padding(real_tokens(left=(0, 12))))
    tokens = torch.randint(-1, 3, (2, LENGTH), generator=torch.Generator().manual_seed(4))
    whole = rows_of("fused", call, tokens=tokens)
    for elements in (1, 32 * 7, 32 * 50):
        monkeypatch.setitem(add_groups.__globals__, "PAIR_ELEMENTS", elements)
        cut = rows_of("fused", call, tokens=tokens)
        for name in ("same_token_mass", "same_token_visible", "induction_mass", "induction_visible"):
            torch.testing.assert_close(getattr(cut, name), getattr(whole, name), equal_nan=True)


@EVERY
def test_queries_elsewhere_need_labels_of_their_own(engine: str) -> None:
    call = attention_call(bidirectional(), queries=19, keys=LENGTH)
    keys = torch.arange(LENGTH).remainder(5).expand(2, -1)
    for name in ("tokens", "segments"):
        with pytest.raises(CallError, match=f"groups.{name}: queries share no positions.*give query_{name} too"):
            rows_of(engine, call, **{name: keys})
    rows = rows_of(engine, call, tokens=keys, query_tokens=torch.zeros(2, 19, dtype=torch.int64))
    assert (rows.same_token_visible == (LENGTH + 4) // 5).all()
    assert rows.induction_mass.isnan().all()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"tokens": torch.zeros(2, LENGTH)},
            r"groups.tokens: expected integer labels \(batch, position\), got \(2, 37\)",
        ),
        ({"keys": torch.zeros(LENGTH).long()}, r"groups.keys: expected integer labels"),
        ({"keys": torch.full((2, LENGTH, 2), 0.5)}, "groups.keys: expected 0 or 1"),
        ({"segments": torch.zeros(2, 36).long()}, r"groups.segments: expected \(batch, position\) = \(2, 37\), got"),
        ({"segments": torch.full((2, LENGTH), 300)}, "groups.segments: expected at most 256 groups, got 301; number"),
        ({"query_tokens": torch.zeros(2, LENGTH).long()}, "groups.query_tokens: expected groups.tokens of the keys"),
    ],
)
def test_labels_that_do_not_fit(labels: dict[str, Tensor], message: str) -> None:
    with pytest.raises(CallError, match=message):
        rows_of("tiled", attention_call(), **labels)


def test_groups_by_the_public_door() -> None:
    import heedful

    call, groups = attention_call(), Groups(tokens=torch.arange(LENGTH).remainder(3).expand(2, -1))
    found = measure(call.query, call.key, groups=groups)
    expected = ENGINES["tiled"](replace(call, value=None), Extras(groups=groups)).rows
    assert torch.equal(found.rows.same_token_mass, expected.same_token_mass)  # type: ignore[arg-type]
    assert heedful.Groups is Groups
    with pytest.raises(UsageError, match=r"groups= and extras\.groups"):
        measure(call.query, call.key, groups=groups, extras=Extras(groups=groups))
