"""Embeddings: their shapes, what ties them to counts, and the fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.embeddings import EMBEDDINGS, embedding, fingerprint

TABLE = counted(characters(20_000))


@pytest.mark.parametrize("name", sorted(EMBEDDINGS))
def test_every_embedding_is_whole_and_repeats(name: str) -> None:
    width = TABLE.vocabulary + 5
    rows = embedding(name, TABLE, width, 3)
    assert rows.shape == (TABLE.vocabulary, width)
    assert np.isfinite(rows).all()
    assert fingerprint(rows) == fingerprint(embedding(name, TABLE, width, 3))


def test_orthonormal_rows() -> None:
    rows = embedding("orthonormal", TABLE, TABLE.vocabulary, 0)
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-12)
    with pytest.raises(UsageError, match="at least the vocabulary"):
        embedding("orthonormal", TABLE, 4, 0)


def test_factor_embeddings_hold_the_log_probabilities_in_their_halves() -> None:
    rows = embedding("log_probability_factors", TABLE, 2 * TABLE.vocabulary, 0)
    query, key = np.split(rows, 2, axis=1)
    every = np.arange(TABLE.vocabulary)
    np.testing.assert_allclose(query @ key.T, affinity("log_probability", TABLE).at(every, every), atol=1e-8)


def test_the_fingerprint_tells_embeddings_apart() -> None:
    rows = embedding("random_unit", TABLE, 8, 0)
    other = rows.copy()
    other[3, 2] += 1e-3
    assert len({fingerprint(rows), fingerprint(other), fingerprint(rows.T)}) == 3
    assert fingerprint(rows) == fingerprint(rows.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "width", "length", "message"),
    [("glove", 8, 1, "not known"), ("random_unit", 1, 1, "at least 2"), ("random_unit", 8, 2, "after 1 token")],
)
def test_what_cannot_be_had_is_refused(name: str, width: int, length: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        embedding(name, counted(characters(500), length), width, 0)
