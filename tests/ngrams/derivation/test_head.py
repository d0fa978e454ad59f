"""The published correction for shifts of positions: what it takes away, by loops, and how much larger than M it is."""

from __future__ import annotations

import numpy as np
import pytest
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.embeddings import embedding
from heedful.ngrams.derivation.head import position_shift, without_position_shift

TABLE = counted(characters(20_000))
WIDTH = 96


def sines(length: int) -> np.ndarray:
    angles = np.arange(length)[:, None] * 10_000.0 ** (-np.arange(0, WIDTH, 2) / WIDTH)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, WIDTH)


def test_the_mean_outer_product_by_a_loop() -> None:
    positions = np.random.default_rng(0).standard_normal((9, 4))
    wanted = np.mean([np.outer(positions[at + 2], positions[at]) for at in range(7)], axis=0)
    np.testing.assert_allclose(position_shift(positions, 2), wanted)
    with pytest.raises(UsageError, match="a shift of 9 tokens wants more positions"):
        position_shift(positions, 9)


def test_what_is_taken_is_larger_than_what_was_there() -> None:
    rows, every = embedding("random_unit", TABLE, WIDTH, 0), np.arange(TABLE.vocabulary)
    matrix, positions = affinity("normalised", TABLE), sines(1_000)
    found = without_position_shift(matrix, rows, rows, positions, 1)
    taken = rows @ position_shift(positions, 1) @ rows.T
    np.testing.assert_allclose(found.at(every, every), matrix.at(every, every) - taken, atol=1e-12)
    one = np.ones(TABLE.vocabulary)
    assert found.squared_norm(one, one) == pytest.approx((found.at(every, every) ** 2).sum())
    assert np.linalg.norm(taken) > 3 * np.linalg.norm(matrix.at(every, every))
