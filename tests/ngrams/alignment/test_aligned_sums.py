"""The skill of attention is judged as one quotient of two means."""

from __future__ import annotations

import numpy as np
import pytest

from heedful.inference.interval import bootstrap_t
from heedful.ngrams.alignment.aligned_sums import skill_by_document

UNIFORM = np.random.default_rng(0).gamma(3.0, 0.3, 40)


@pytest.mark.parametrize(("share", "skill"), [(0.0, 1.0), (1.0, 0.0), (0.25, 0.75), (3.0, -2.0)])
def test_a_head_that_is_as_good_everywhere_has_no_uncertainty(share: float, skill: float) -> None:
    found = skill_by_document(share * UNIFORM, UNIFORM)
    assert found == pytest.approx(np.full(40, skill))


def test_the_mean_is_the_quotient_of_means_and_not_the_mean_of_quotients() -> None:
    divergence = UNIFORM**2
    found = skill_by_document(divergence, UNIFORM)
    assert found.mean() == pytest.approx(1 - divergence.mean() / UNIFORM.mean())
    assert abs(found.mean() - (1 - divergence / UNIFORM).mean()) > 0.05


def test_its_interval_holds_the_true_quotient_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        uniform = random.gamma(3.0, 0.3, 30)
        divergence = uniform * 0.4 + random.normal(0, 0.1, 30)
        interval = bootstrap_t(skill_by_document(divergence, uniform)[:, None], resamples=199, seed=0).at(0)
        held += float(interval.low) <= 0.6 <= float(interval.high)
    assert 180 <= held <= 199


def test_documents_without_rows_are_left_out_and_equal_expectations_have_no_skill() -> None:
    holed = np.where(np.arange(40) < 5, np.nan, UNIFORM)
    found = skill_by_document(0.5 * holed, holed)
    assert np.isnan(found[:5]).all() and found[5:] == pytest.approx(0.5)
    assert np.isnan(skill_by_document(np.zeros(9), np.zeros(9))).all()
