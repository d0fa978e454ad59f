"""What heads are compared with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.evaluation.stub import documents, stub_study

from heedful.evaluation.null_comparison import enough_for_holm, margin, null_p, untrained, with_p
from heedful.inference.multiplicity import holm
from heedful.inference.signflip import max_rank_p
from heedful.inference.verdict import Verdict


def null_models(count: int, heads: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, heads))


@pytest.mark.parametrize(
    ("heads", "models", "enough"),
    [
        ((2, 2), 19, False),
        ((2, 2), 39, False),
        ((2, 2), 40, True),
        ((4,), 19, False),
        ((4,), 20, True),
        ((12,) * 12, 99, False),
        ((1, 8), 178, False),  # the smallest layer decides: 9 heads, a p of 1/179 in the layer of one
        ((8, 1), 178, False),
        ((1, 8), 179, True),
        ((8, 1), 179, True),
    ],
)
def test_holm_is_used_where_the_null_models_are_enough_for_one_head(
    heads: tuple[int, ...], models: int, enough: bool
) -> None:
    study = stub_study(heads)
    assert enough_for_holm(study, models) is enough
    tested, null = np.full(sum(heads), 9.0), null_models(models, sum(heads))
    raw, adjusted = null_p(study, tested, null)
    expected = holm(raw) if enough else max_rank_p(tested, null)
    np.testing.assert_array_equal(adjusted, expected)
    assert (adjusted >= raw).all()
    assert raw[0] == pytest.approx(1 / (models * (heads[0] if enough else 1) + 1))


def test_an_adjusted_p_is_never_below_the_raw_one() -> None:
    """Also where one head strays far in the null, so that its neighbour's rank in the layer would be large."""
    null = np.stack([np.linspace(-9.0, 9.0, 19), np.linspace(-0.1, 0.1, 19)], axis=1)
    raw, adjusted = null_p(stub_study((2,)), np.array([-9.5, 0.2]), null)
    assert raw.tolist() == pytest.approx([1.0, 0.05])
    assert (adjusted >= raw).all() and adjusted[1] == pytest.approx(0.05)


def test_raw_p_is_the_rank_among_the_heads_of_its_own_layer() -> None:
    null = np.tile([0.0, 1.0, 10.0, 11.0], (40, 1))
    raw, _ = null_p(stub_study(), np.array([0.5, 2.0, 5.0, 10.5]), null)
    assert raw.tolist() == pytest.approx([41 / 81, 1 / 81, 81 / 81, 41 / 81])


def test_nineteen_models_can_name_a_head_and_count_family_wise() -> None:
    study = stub_study(nulls={"x": null_models(19)}, tested={"x": np.array([0.0, 50.0, 0.0, 0.0])})
    found = untrained(study, "x")
    assert found.null == "19 untrained models of the same config"
    assert found.p_adjusted[1] == pytest.approx(0.05)
    assert (found.found, found.counted) == (1, "beyond the null (family-wise, 5%)")


def test_many_models_count_by_benjamini_and_hochberg() -> None:
    study = stub_study(nulls={"x": null_models(99)}, tested={"x": np.array([0.0, 50.0, 50.0, 0.0])})
    assert untrained(study, "x").counted == "beyond the null (BH, q = 0.05)"
    assert untrained(study, "x").found == 2


def test_no_null_model_is_said_and_nothing_is_counted() -> None:
    found = untrained(stub_study(null_reason="it cannot be built"), "x")
    assert (found.available, found.found, found.null) == (False, None, "not available: it cannot be built")
    assert np.isnan(found.p).all()
    undefined = untrained(stub_study(nulls={"x": np.full((19, 4), np.nan)}, tested={"x": np.full(4, np.nan)}), "x")
    assert (undefined.available, undefined.found) == (True, None)


def test_the_margin_is_tested_for_all_heads_at_once() -> None:
    study = stub_study((40,))
    units = documents([0.1] * 39 + [0.5], spread=0.3, count=30)
    found = margin(study, units, 0.1, "the margin")
    assert found.p_adjusted[39] <= 0.05
    assert (found.p_adjusted >= found.p - 1e-12).all()
    assert found.found == 1
    assert (found.p[:39] > 0.3).all()


def test_the_chance_that_any_head_at_the_margin_is_named_is_held() -> None:
    """Unadjusted intervals of 40 heads that stand exactly at the margin would name one in two texts out of three."""
    named, alone, random = 0, 0, np.random.default_rng(0)
    for _ in range(60):
        found = margin(stub_study((40,), settings={"resamples": 299}), random.normal(size=(24, 40)), 0.0, "")
        named += bool((found.p_adjusted <= 0.05).any())
        alone += bool((found.p <= 0.05).any())
    assert named <= 8
    assert alone > 25


@pytest.mark.parametrize(
    ("adjusted", "verdict", "words"),
    [
        (0.05, Verdict.PASS, "it is so and more (adjusted p 0.05)"),
        (0.06, Verdict.WARN, "it is so, but less (adjusted p 0.06 > 0.05)"),
        (math.nan, Verdict.WARN, "it is so, but the comparison is undefined: descriptive only"),
    ],
)
def test_an_adjusted_p_keeps_a_pass_or_takes_it_back(adjusted: float, verdict: Verdict, words: str) -> None:
    assert with_p(Verdict.PASS, "it is so", adjusted, 0.05, "more", "less") == (verdict, words)


def test_the_level_is_the_settings() -> None:
    assert with_p(Verdict.PASS, "so", 0.05, 0.01, "more", "less")[0] is Verdict.WARN
