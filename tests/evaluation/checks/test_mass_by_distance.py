"""Mass by distance: a description beside its uniform share."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing, study_of
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids

from heedful.evaluation.checks.mass_by_distance import mass_by_distance
from heedful.inference.verdict import Verdict


def test_uniform_attention_has_its_uniform_share_in_every_bin() -> None:
    (found,) = judged(mass_by_distance, PatternModel(nothing), random_ids(20, 40))
    assert found.verdict is Verdict.INFO
    curve = found.detail["curve"]
    assert [row["distance"] for row in curve] == ["0", "1", "2-3", "4-7", "8-15", "16-31", "32+"]
    assert [row["mass"] for row in curve] == pytest.approx([row["uniform"] for row in curve], abs=1e-5)
    assert sum(row["mass"] for row in curve) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("fault", ["", "nan logits"])
def test_a_previous_token_head_has_all_its_mass_at_one_and_a_broken_head_beside_it_hides_nothing(fault: str) -> None:
    (found,) = judged(mass_by_distance, PlantedModel(*previous_token_heads(2, 32), fault=fault), random_ids(20, 32))
    curve = {row["distance"]: row for row in found.detail["curve"]}
    assert curve["1"]["mass"] == pytest.approx(1.0, abs=1e-5)
    assert found.estimate == pytest.approx(1.0, abs=1e-5)
    assert curve["1"]["uniform"] == pytest.approx(sum(1 / n for n in range(8, 33)) / 25, abs=1e-5)


def test_rows_of_few_keys_leave_nothing_to_describe() -> None:
    (found,) = judged(mass_by_distance, PatternModel(nothing), random_ids(20, 6))
    assert found.verdict is Verdict.UNDEFINED


def test_layers_without_positions_are_skipped() -> None:
    study = study_of(PatternModel(nothing), random_ids(4, 32))
    del study.observed.layers[0].values["distance_mass"]
    assert mass_by_distance(study)[0].verdict is Verdict.SKIP
