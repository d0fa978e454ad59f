import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.inference.ranks import max_rank_p, pooled_rank_p, rank_p

NAN, INF = np.nan, np.inf


def test_rank_of_known_values():
    null = [1.0, 2.0, 3.0, 4.0]
    assert [rank_p(t, null) for t in (9.0, 4.0, 2.5, 1.0, INF)] == [1 / 5, 2 / 5, 3 / 5, 1.0, 1 / 5]


def test_missing_values_and_models():
    null = [[1.0, NAN, 1.0], [NAN, NAN, 2.0], [3.0, NAN, 3.0]]
    np.testing.assert_array_equal(rank_p([2.0, 2.0, NAN], null), [2 / 3, NAN, NAN])


def test_ninety_nine_models_allow_one_percent():
    assert rank_p(10.0, np.arange(99) / 99) == 0.01


def test_pooled_rank_agrees_with_a_loop():
    random = np.random.default_rng(0)
    observed, null = random.normal(size=(2, 3)), random.normal(size=(5, 2, 3))
    found = pooled_rank_p(observed, null)
    for layer, head in np.ndindex(2, 3):
        reached = sum(null[r, layer, k] >= observed[layer, head] for r in range(5) for k in range(3))
        assert found[layer, head] == (1 + reached) / 16


def test_pooled_rank_of_one_layer():
    np.testing.assert_array_equal(pooled_rank_p([5.0, 0.0], [[1.0, 2.0]]), [1 / 3, 1.0])


def test_max_rank_agrees_with_a_loop():
    random = np.random.default_rng(1)
    observed, null = random.normal(size=(2, 3)), random.normal(size=(9, 2, 3))
    everyone = np.concatenate([observed[None], null])
    z = (everyone - everyone.mean(axis=0)) / everyone.std(axis=0)
    expected = [[(1 + sum(z[r].max() >= z[0, i, j] for r in range(1, 10))) / 10 for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(max_rank_p(observed, null), expected)


def test_max_rank_of_one_entry_is_its_rank():
    null = np.random.default_rng(2).normal(size=19)
    assert max_rank_p(0.3, null) == rank_p(0.3, null)


def test_max_rank_leaves_out_what_is_undefined():
    random = np.random.default_rng(3)
    observed, null = random.normal(size=3), random.normal(size=(9, 3))
    more = np.append(observed, [NAN, 1.0, INF]), np.concatenate([null, np.full((9, 2), NAN), null[:, :1]], axis=1)
    np.testing.assert_array_equal(max_rank_p(*more), [*max_rank_p(observed, null), NAN, NAN, NAN])
    empty = np.concatenate([null, np.full((1, 3), NAN)])
    np.testing.assert_array_equal(max_rank_p(observed, empty), max_rank_p(observed, null))
    assert np.isnan(max_rank_p(np.full(2, NAN), np.zeros((4, 2)))).all()


def test_models_that_never_differ_are_no_evidence():
    np.testing.assert_array_equal(max_rank_p([0.1, 0.1], np.full((19, 2), 0.1)), [1.0, 1.0])


@given(order=st.permutations(range(7)), shift=st.integers(-5, 5), scale=st.sampled_from([0.25, 2.0, 1024.0]))
def test_order_of_models_and_units_of_measure_do_not_matter(order, shift, scale):
    random = np.random.default_rng(4)
    observed, null = random.integers(-9, 9, size=4) / 4, random.integers(-9, 9, size=(7, 4)) / 4
    for test in (rank_p, pooled_rank_p, max_rank_p):
        moved = test(scale * observed + shift, scale * null[order] + shift)
        np.testing.assert_allclose(moved, test(observed, null))


@pytest.mark.parametrize("null", [np.zeros((4, 2)), np.zeros(3), np.zeros((0, 3)), 1.0])
def test_wrong_shapes(null):
    for test in (rank_p, pooled_rank_p, max_rank_p):
        with pytest.raises(ValueError, match="at least one model"):
            test(np.zeros(3), null)


def test_pooling_wants_heads():
    with pytest.raises(ValueError, match="head"):
        pooled_rank_p(1.0, [1.0, 2.0])


@pytest.mark.slow
def test_false_positive_rates():
    random, found = np.random.default_rng(5), []
    for _ in range(2000):
        models = random.exponential(size=(20, 2, 4)) * [[1.0], [3.0]]
        p = [np.asarray(test(models[0], models[1:])) for test in (rank_p, pooled_rank_p, max_rank_p)]
        found.append([(p[0] <= 0.05).mean(), (p[1] <= 0.05).mean(), (p[2] <= 0.05).any()])
    rank, pooled, family = np.mean(found, axis=0)
    assert 0.042 <= rank <= 0.058
    assert pooled == pytest.approx(3 / 77, abs=0.006)
    assert 0.035 <= family <= 0.065
