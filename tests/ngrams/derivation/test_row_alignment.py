"""Expected attention, its agreement with actual attention, and the ladder of remedies on real text."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from tests.ngrams.derivation.texts import characters, counted

from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.calibrated import best_temperature
from heedful.ngrams.derivation.embeddings import embedding
from heedful.ngrams.derivation.encoder import encoded
from heedful.ngrams.derivation.factors import factorised, frequency_weights
from heedful.ngrams.derivation.row_alignment import expected_rows, row_alignment
from heedful.ngrams.derivation.table import NgramTable

LENGTH = 32
ROWS = np.arange(1, LENGTH)
BEHIND = np.arange(LENGTH)[None, :] > ROWS[:, None]


def test_expected_weights_by_a_loop() -> None:
    tokens = characters(400)
    table = counted(tokens, 2)
    rows = np.arange(40)
    found = expected_rows(table, tokens[:40], rows)
    counts = table.counts.toarray()
    contexts = [tuple(context) for context in table.contexts]
    for row in rows:
        context = tuple(tokens[max(row - 1, 0) : row + 1])
        if context not in contexts:
            assert np.isnan(found[row]).all()
            continue
        weights = np.array([counts[contexts.index(context), token] for token in tokens[: row + 1]])
        if not weights.sum():
            assert np.isnan(found[row]).all()
            continue
        np.testing.assert_allclose(found[row, : row + 1], weights / weights.sum())
        assert not found[row, row + 1 :].any()
    assert np.isnan(found[0]).all()


def test_uniform_attention_has_the_divergence_of_uniform_attention() -> None:
    tokens = characters(LENGTH + 300)
    expected = expected_rows(counted(tokens), tokens[:LENGTH], ROWS)
    flat = np.where(BEHIND, -np.inf, -np.log(ROWS + 1)[:, None])
    found = row_alignment(expected, flat, ROWS)
    np.testing.assert_allclose(found.divergence, found.uniform_divergence)
    exact = row_alignment(expected, np.log(np.maximum(expected, 1e-300)), ROWS)
    np.testing.assert_allclose(exact.divergence[~np.isnan(exact.divergence)], 0.0, atol=1e-9)
    assert np.nanmin(exact.cosine) == pytest.approx(1.0)
    assert np.nanmin(exact.match) == 1.0


def test_copies_of_a_token_match_one_another() -> None:
    expected = np.array([[0.4, 0.2, 0.4], [np.nan] * 3])
    last = np.log([[0.1, 0.1, 0.8], [0.2, 0.3, 0.5]])
    found = row_alignment(expected, last, np.array([2, 2]))
    assert found.match[0] == 1.0
    assert found.uniform_match[0] == pytest.approx(2 / 3)
    assert np.isnan(found.divergence[1]) and np.isnan(found.match[1]) and np.isnan(found.cosine[1])


def test_the_temperature_that_was_used_is_found() -> None:
    logits = np.random.default_rng(0).standard_normal((6, 9))
    expected = np.exp(log_softmax(2.5 * logits, axis=-1))
    expected[0] = np.nan
    assert best_temperature([expected], [logits]) == pytest.approx(2.5, rel=1e-3)
    assert best_temperature([expected], [logits * 1e9]) == pytest.approx(2.5e-9, rel=1e-3)
    assert best_temperature([expected], [np.ones_like(logits)]) == 1.0


def aligned(table: NgramTable, documents: list[np.ndarray], scores: np.ndarray, factor: float | None) -> float:
    """Mean divergence over documents; the best factor where none is given."""
    expected = [expected_rows(table, tokens, ROWS) for tokens in documents]
    logits = [np.where(BEHIND, -np.inf, scores[np.ix_(tokens, tokens)][ROWS]) for tokens in documents]
    factor = factor or best_temperature(expected, logits)
    pairs = zip(expected, logits, strict=True)
    rows = [row_alignment(wanted, log_softmax(factor * given, axis=-1), ROWS) for wanted, given in pairs]
    return float(np.mean([np.nanmean(found.divergence) for found in rows]))


def test_remedies_help_in_the_order_that_was_published() -> None:
    tokens = characters(68_000)
    table = counted(tokens)
    every = np.arange(table.vocabulary)
    starts = np.random.default_rng(0).integers(0, len(tokens) - LENGTH, 40)
    documents = [tokens[start : start + LENGTH] for start in starts]

    def of(name: str, factor: float | None = None) -> float:
        return aligned(table, documents, affinity(name, table).at(every, every), factor)

    uniform = aligned(table, documents, np.zeros((len(every), len(every))), 1.0)
    rows = embedding("random_unit", table, 64, 42)
    found = factorised(affinity("normalised", table), 64)
    kept, other = (
        (shown @ encoded("transpose", rows, found.left)) @ (shown @ encoded("transpose", rows, found.right)).T
        for shown in (rows, embedding("random_unit", table, 64, 43))
    )
    assert aligned(table, documents, other, None) > 0.93 * uniform
    assert aligned(table, documents, kept, None) < 0.75 * uniform
    assert of("normalised") < aligned(table, documents, kept, None)
    assert of("symmetrised") > of("normalised") < of("residual")
    assert of("normalised") > of("probability") > of("sqrt_probability") > of("log_probability", 1.0)
    assert of("log_probability_backoff", 1.0) < 0.01
    weights = frequency_weights(table)
    ranks = [factorised(affinity("log_probability", table), rank, weights) for rank in (4, 8, 16, 32)]
    losses = [aligned(table, documents, part.left @ part.right.T, 1.0) for part in ranks]
    assert losses == sorted(losses, reverse=True)
    plain = factorised(affinity("log_probability", table), 4)
    assert losses[0] < aligned(table, documents, plain.left @ plain.right.T, 1.0)
