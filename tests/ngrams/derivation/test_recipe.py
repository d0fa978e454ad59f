"""Recipes: what they read, and words that make no sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heedful.errors import UsageError
from heedful.ngrams.derivation.recipe import ORDERS, RECIPES, DerivationRecipe, arranged, changed, rotated_vectors
from heedful.training.model.attention.softmax import rotated, rotation


def test_counts_that_a_recipe_reads() -> None:
    assert RECIPES["seed"].wanted() == {(n, s) for n in (1, 2) for s in range(4)}
    assert RECIPES["corrected"].wanted() == {(1, 0)}
    assert DerivationRecipe(shortest=2, longest=2, heads=2, furthest=1).wanted() == {(1, 0), (1, 1), (1, 2)}


def test_layers_lengthen_contexts_and_heads_skip() -> None:
    recipe = RECIPES["seed"]
    assert [recipe.context(layer) for layer in range(4)] == [1, 2, 2, 2]
    assert [recipe.skip(head) for head in range(5)] == [0, 1, 2, 3, 3]


def test_words_of_a_command_line() -> None:
    recipe = changed(RECIPES["seed"], target="0.05", value_std="0.02", final_norm="false", layers="2", kept="embedding")
    assert (recipe.target, recipe.value_std, recipe.final_norm, recipe.layers) == (0.05, 0.02, False, 2)
    assert recipe.kept == "embedding"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"scale": "3"}, "'scale' is no field of a recipe; one of: affinity"),
        ({"layers": "two"}, "layers: expected a whole number, such as 256; came 'two'"),
        ({"width": "1e9"}, "width: expected a whole number, such as 256; came '1e9'"),
        ({"target": "big"}, "target: expected a number; came 'big'"),
        ({"layers": "0"}, "layers must be at least 1; came 0"),
        ({"final_norm": "yes"}, "expected true or false; came 'yes'"),
        ({"value": "sum"}, "value 'sum' is not known; one of: probability"),
        ({"target": "-1"}, "above 0 and finite; came -1"),
        ({"value_std": "inf"}, "above 0 and finite; came 0.01 and inf"),
        ({"order": "random"}, "order 'random' is not known; one of: largest_fastest, largest_slowest"),
        ({"outputs": "orthogonal", "width": "200"}, "4 skips x head_dim 64 = 256; came 200"),
        ({"subtracted": "position_shift", "positions": "rotary"}, "learned or sinusoidal"),
        ({"furthest": "-1"}, "at least 0; came -1"),
        ({"shortest": "3"}, "shortest must be at most longest; came 3 and 2"),
    ],
)
def test_what_makes_no_sense_is_refused(words: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(RECIPES["seed"], **words)


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
