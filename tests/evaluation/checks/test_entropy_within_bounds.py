"""Entropy between the least its logits allow and the logarithm of the visible keys."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, own_token, study_of
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids

from heedful.evaluation.checks.entropy_within_bounds import entropy_within_bounds
from heedful.inference.verdict import Verdict


def test_measured_entropy_passes() -> None:
    study = study_of(PatternModel(own_token), random_ids(4, 32))
    assert entropy_within_bounds(study)[0].verdict is Verdict.PASS


@pytest.mark.parametrize(("bound", "words"), [("entropy_excess", "above log n"), ("entropy_deficit", "below the norm")])
def test_a_measurement_beyond_a_bound_fails(bound: str, words: str) -> None:
    study = study_of(PatternModel(own_token), random_ids(4, 32))
    study.observed.layers[0].values[bound][2, 1] = 0.25
    (found,) = entropy_within_bounds(study)
    assert found.verdict is Verdict.FAIL
    assert found.estimate == 0.25
    assert f"{words}: 2.5e-01" in found.reason.replace("'s bound", "")


def test_no_finite_row_is_undefined() -> None:
    study = study_of(PlantedModel(*previous_token_heads(1, 32), fault="nan logits"), random_ids(4, 32))
    assert entropy_within_bounds(study)[0].verdict is Verdict.UNDEFINED
