"""Heads ranked by pairs: masses of an independent loop, a planted head first, and one line for bad pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.evaluation.pattern_probes.loops import cases, weights_by_loop

import heedful
from heedful.errors import CaptureError, InputRejected
from heedful.interception.pair_ranking import Matchings, given_pairs, hides_future, ranking

CASES = cases()
PAIRS = [[0, 9, 3], [0, 15, 2], [0, 19, 11], [1, 12, 8], [1, 18, 9], [1, 19, 19]]


@pytest.mark.parametrize("case", CASES)
def test_sums_are_those_of_a_loop_for_given_and_permuted_pairs(case: str) -> None:
    call = CASES[case]
    matchings = Matchings(given_pairs(PAIRS), [20, 20], seed=3)
    found = matchings.sums(call, [0, 1])
    weights = weights_by_loop(call)
    for sequence in (0, 1):
        own = [pair for pair in PAIRS if pair[0] == sequence]
        for matching, keys in enumerate(matchings._keys[sequence][:9].tolist()):
            for head in range(call.heads):
                rows = [
                    weights[sequence][head][query].get(key, 0.0) for (_, query, _), key in zip(own, keys, strict=True)
                ]
                assert found[sequence, head, matching].item() == pytest.approx(sum(rows), abs=1e-5)
    assert matchings._keys[0][0].tolist() == [3, 2, 11]


def test_keys_behind_their_queries_are_never_drawn_where_the_future_is_hidden() -> None:
    for case, hidden in (("causal", True), ("window", True), ("padded", True), ("bidirectional", False)):
        assert hides_future(CASES[case], 0) is hidden
        matchings = Matchings(given_pairs(PAIRS), [20, 20], seed=0)
        matchings.sums(CASES[case], [0, 1])
        beyond = any((matchings._keys[s] > matchings.pairs[matchings.pairs[:, 0] == s, 1]).any() for s in (0, 1))
        assert beyond is not hidden


def test_a_session_ranks_the_head_that_reads_the_pairs_first() -> None:
    model = heedful.load_model().model
    ids = torch.arange(5, 45)[None]
    with heedful.capture(model) as session:
        model(ids)
    pairs = [[query, query - 1] for query in range(6, 40)]
    found = session.rank_heads(pairs)
    assert len(found) == 24 and [row.mass for row in found] == sorted((row.mass for row in found), reverse=True)
    weights = session.weights(found[0].layer, found[0].head)
    assert found[0].mass == pytest.approx(np.mean([weights[q, k].item() for q, k in pairs]), rel=1e-5)
    assert found[0].p <= 0.05 and found[0].permuted < found[0].mass and found.others > 100
    assert found.rows == session.rank_heads(pairs).rows


def test_the_ranking_is_by_mass_with_the_null_beside_it() -> None:
    sums = np.array([[1.0, 2.0, 3.0], [6.0, 1.0, 1.0]])
    found = ranking([(0, "a", 0), (0, "a", 1)], sums, 2, others=2)
    assert (found[0].head, found[0].mass, found[0].permuted) == (1, 3.0, 0.5)
    assert found[0].p == pytest.approx(1 / 3) and found[1].p == 1.0 and found.permutations == 2


def test_pairs_that_allow_no_exchange_name_no_head_and_say_so() -> None:
    with heedful.capture(heedful.load_model().model) as session:
        session.model(torch.arange(5, 45)[None])
    found = session.rank_heads([[query, query - 1] for query in range(6, 40, 3)])
    assert found.others == 0 and all(row.p == 1.0 for row in found)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([[3, 9]], "no query of this model sees a later key"),
        ([[50, 1]], "lies outside of the text, which has 20 tokens"),
        ([[1, 5, 3]], "lies outside of the text, which has 1 sequences"),
        ([], "at least one pair"),
        ([["a", 1]], "pair 1: expected [query, key]"),
        ([[1, True]], "pair 1: expected"),
        ([[1]], "pair 1: expected"),
        ([[-1, 0]], "pair 1: expected"),
        (5, "expected a list"),
        ("12", "expected a list"),
    ],
)
def test_bad_pairs_get_one_line(pairs: object, says: str) -> None:
    model = heedful.load_model().model
    with heedful.capture(model) as session:
        model(torch.arange(5, 25)[None])
    with pytest.raises(InputRejected) as caught:
        session.rank_heads(pairs)
    assert says in str(caught.value) and str(caught.value).isprintable()


def test_nothing_captured_is_said() -> None:
    with heedful.capture(heedful.load_model().model) as session:
        pass
    with pytest.raises(CaptureError, match="no attention call was met"):
        session.rank_heads([[1, 0]])
