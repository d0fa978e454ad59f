"""Encoders: exact where the rows they read are independent, and blind to positions where asked."""

from __future__ import annotations

import numpy as np
import pytest
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import UsageError
from heedful.ngrams.derivation import encoder
from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.embeddings import embedding
from heedful.ngrams.derivation.encoder import encoded, layer_normalised, reader, unread
from heedful.ngrams.derivation.factors import factorised

TABLE = counted(characters(20_000))
SIZE = TABLE.vocabulary
ROWS = np.arange(SIZE)


def scores(name: str, fed: np.ndarray, positions: np.ndarray | None = None, given: np.ndarray | None = None) -> float:
    matrix = affinity("normalised", TABLE)
    found = factorised(matrix, SIZE)
    shown = fed if given is None else given
    query = shown @ encoded(name, fed, found.left, positions)
    key = shown @ encoded(name, fed, found.right, positions)
    return float(np.abs(query @ key.T - matrix.at(ROWS, ROWS)).max())


def test_the_pseudo_inverse_is_exact() -> None:
    assert scores("pseudo_inverse", embedding("random_unit", TABLE, SIZE + 20, 0)) < 1e-10


def test_the_transpose_is_exact_for_orthonormal_rows_alone() -> None:
    assert scores("transpose", embedding("orthonormal", TABLE, SIZE, 0)) < 1e-10
    assert scores("transpose", embedding("random_unit", TABLE, SIZE, 0)) > 0.05


def test_a_layer_norm_must_be_encoded_through() -> None:
    rows = embedding("random_unit", TABLE, SIZE + 20, 0)
    fed = layer_normalised(rows)
    assert scores("pseudo_inverse", fed) < 1e-10
    assert scores("pseudo_inverse", rows, given=fed) > 1


def test_the_joint_encoder_does_not_see_positions() -> None:
    rng = np.random.default_rng(1)
    positions = rng.standard_normal((30, 10)) @ rng.standard_normal((10, SIZE + 20))
    rows = embedding("random_unit", TABLE, SIZE + 20, 0)
    given = rows + positions[rng.integers(0, 30, SIZE)]
    assert scores("joint_pseudo_inverse", rows, positions, given) < 1e-9
    assert scores("pseudo_inverse", rows, given=given) > 0.1


@pytest.mark.parametrize("name", ["pseudo_inverse", "frequency_pseudo_inverse"])
def test_a_direction_that_is_rounding_is_not_read(name: str) -> None:
    """A layer norm leaves nothing along the mean of a row but rounding, which a projection must not make large."""
    fed = layer_normalised(embedding("random_unit", TABLE, SIZE // 2, 0))
    found = reader(name, fed, None, TABLE.row_sums + 1)(affinity("normalised", TABLE).at(ROWS, ROWS))
    assert np.abs(found.sum(0)).max() < 1e-6 * np.abs(found).max()


def test_least_squares_by_frequency_are_least_by_frequency() -> None:
    fed, frequency = embedding("random_unit", TABLE, SIZE // 2, 0), TABLE.row_sums + 1
    factor = affinity("normalised", TABLE).at(ROWS, ROWS)
    weighed = reader("frequency_pseudo_inverse", fed, None, frequency)(factor)
    lost = unread(fed, weighed, factor, frequency)
    assert lost == pytest.approx(
        float((frequency[:, None] * (fed @ weighed - factor) ** 2).sum() / (frequency[:, None] * factor**2).sum())
    )
    rng = np.random.default_rng(2)
    for _ in range(5):
        assert unread(fed, weighed + 1e-3 * rng.standard_normal(weighed.shape), factor, frequency) > lost
    with pytest.raises(UsageError, match="wants how often each token occurs"):
        reader("frequency_pseudo_inverse", fed)


def test_a_joint_encoder_needs_room_and_positions() -> None:
    rows = embedding("random_unit", TABLE, SIZE, 0)
    with pytest.raises(UsageError, match="directions of positions"):
        encoded("joint_pseudo_inverse", rows, rows, np.ones((3, SIZE)))
    with pytest.raises(UsageError, match="wants the position vectors"):
        encoded("joint_pseudo_inverse", rows, rows)
    with pytest.raises(UsageError, match="'inverse' is not known"):
        encoded("inverse", rows, rows)


@pytest.mark.parametrize("directions", [10, 7])
def test_many_rows_are_read_as_few_are(directions: int) -> None:
    draw = np.random.default_rng(0)
    few, many = encoder.TALL * 10 - 1, encoder.TALL * 10
    fed = draw.standard_normal((many, directions)) @ draw.standard_normal((directions, 10))
    factor, frequency = draw.standard_normal((many, 3)), draw.random(many) + 0.1
    root = np.sqrt(frequency / frequency.sum())[:, None]
    for size in (few, many):
        rows, wanted = fed[:size], factor[:size]
        np.testing.assert_allclose(encoded("pseudo_inverse", rows, wanted), np.linalg.pinv(rows) @ wanted, atol=1e-10)
    weighed = reader("frequency_pseudo_inverse", fed, frequency=frequency)(factor)
    np.testing.assert_allclose(weighed, np.linalg.pinv(fed * root) @ (factor * root), atol=1e-10)
