"""Attention without matrices: what counts expect wherever they do, and something everywhere else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.row_alignment import expected_rows, row_alignment
from heedful.ngrams.remedies.oracles import oracle_log_weights, smoothed_oracle_log_weights

TEXT = characters(14_000)
SIZE = int(TEXT.max()) + 1
ONE, TWO, THREE = (counted(TEXT[:12_000], n, 0, SIZE) for n in (1, 2, 3))
ROWS = np.arange(48)
TOKENS = TEXT[12_000:12_048]


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_it_is_what_is_expected_wherever_something_is(longest: int) -> None:
    tables = [THREE, TWO, ONE][3 - longest :]
    found = np.exp(oracle_log_weights(tables, TOKENS, ROWS))
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert not found[ROWS[None, :] > ROWS[:, None]].any()
    backed = np.full(len(ROWS), True)
    for table in tables:
        expected = expected_rows(table, TOKENS, ROWS)
        own = backed & ~np.isnan(expected).any(-1)
        assert own.any() and np.abs(found[own] - expected[own]).max() < 1e-9
        backed &= ~own
    frequent = np.where(ROWS[backed][:, None] >= ROWS, (ONE.column_sums + 1)[TOKENS], 0.0)
    np.testing.assert_allclose(found[backed], frequent / frequent.sum(-1, keepdims=True))


def test_softmax_of_unsmoothed_log_probabilities_of_pairs_is_expected_attention() -> None:
    dense = TWO.counts.toarray() / TWO.row_sums[:, None]
    rows = ROWS[~np.isnan(expected_rows(TWO, TOKENS, ROWS)).any(-1)]
    with np.errstate(divide="ignore"):
        logits = np.log(dense[TWO.rows_of(TOKENS)[rows]][:, TOKENS])
    weights = softmax(np.where(rows[:, None] < ROWS, -np.inf, logits), axis=-1)
    assert len(rows) > 20
    assert np.abs(weights - expected_rows(TWO, TOKENS, rows)).max() < 1e-9
    assert np.abs(weights - np.exp(oracle_log_weights([TWO], TOKENS, rows))).max() < 1e-9


def test_of_single_tokens_the_smoothed_one_is_the_softmax_of_log_probabilities_with_backoff() -> None:
    logits = affinity("log_probability_backoff", ONE).at(TOKENS, TOKENS)
    wanted = log_softmax(np.where(ROWS[:, None] < ROWS, -np.inf, logits), axis=-1)
    np.testing.assert_allclose(smoothed_oracle_log_weights([ONE], TOKENS, ROWS), wanted, atol=1e-9)


def test_longer_contexts_agree_better_with_pairs_of_another_text() -> None:
    other = counted(TEXT[12_000:], 2, 0, SIZE)
    documents = [TEXT[at : at + 48] for at in range(12_000, 14_000 - 48, 48)]

    def divergence(tables: list[object]) -> float:
        found = []
        for tokens in documents:
            logs = smoothed_oracle_log_weights(tables, tokens, ROWS)
            assert (np.isfinite(logs) == (ROWS[:, None] >= ROWS)).all()
            found.append(np.nanmean(row_alignment(expected_rows(other, tokens, ROWS), logs, ROWS).divergence))
        return float(np.mean(found))

    assert divergence([TWO, ONE]) < 0.8 * divergence([ONE])


def test_tables_that_are_no_ladder_are_refused() -> None:
    with pytest.raises(UsageError, match=r"longest first; came n = \[1, 2\]"):
        oracle_log_weights([ONE, TWO], TOKENS, ROWS)
    with pytest.raises(UsageError, match=r"came n = \[\]"):
        smoothed_oracle_log_weights([], TOKENS, ROWS)
    with pytest.raises(UsageError, match="one skip and one vocabulary"):
        oracle_log_weights([TWO, counted(TEXT, 1, 1, SIZE)], TOKENS, ROWS)
