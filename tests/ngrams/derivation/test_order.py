"""Places of components: each pair holds neighbours, and slow pairs keep what fast ones lose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heedful.errors import UsageError
from heedful.ngrams.derivation.order import ORDERS, arranged, rotated_vectors
from heedful.training.model.rotation import rotated, rotation

DIM = 12


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_neighbouring_components_turn_together(order: str) -> None:
    places = ORDERS[order](DIM)
    assert sorted(places) == list(range(DIM))
    assert (places[0::2] + DIM // 2 == places[1::2]).all()
    pairs = places[0::2]
    assert pairs[0] == {"largest_fastest": 0, "largest_slowest": DIM // 2 - 1}[order]
    assert (np.abs(np.diff(pairs)) == 1).all()


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_products_stay_and_missing_components_are_nothing(order: str) -> None:
    rng = np.random.default_rng(0)
    query, key = rng.standard_normal((2, 7, 5))
    left, right = arranged(order, query, DIM), arranged(order, key, DIM)
    assert left.shape == (7, DIM) and (left == 0).all(0).sum() == DIM - 5
    np.testing.assert_allclose(left @ right.T, query @ key.T)


def test_vectors_turn_as_in_a_rotary_head() -> None:
    vectors = np.random.default_rng(1).standard_normal((9, DIM))
    turn = rotation(torch.arange(20)[None], DIM, 10_000.0, torch.float64)
    wanted = rotated(torch.from_numpy(vectors)[None, None], (turn[0][:, :9], turn[1][:, :9]))[0, 0]
    np.testing.assert_allclose(
        rotated_vectors(vectors, (turn[0][0].numpy(), turn[1][0].numpy())), wanted.numpy(), atol=1e-12
    )


def test_an_order_that_is_not_known() -> None:
    with pytest.raises(UsageError, match="'random' is not known; one of: largest_fastest"):
        arranged("random", np.ones((2, 2)), DIM)
