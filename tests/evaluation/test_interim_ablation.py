"""Ablation by looks: who stops when, what is left unread, and that the verdict is the same."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.test_ablation_judging import study_with

from heedful.errors import UsageError
from heedful.evaluation.ablation_judging import interim_facts, over_documents
from heedful.evaluation.calibration.losses import study_with_interim_analyses
from heedful.evaluation.checks.learned_weights_matter import learned_weights_matter
from heedful.evaluation.interim_ablation import interim_ends
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict

ARMS = ("uniform", "local", "mean", "shuffled", "zero")


def arms_of(**means: float) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).normal(size=64)
    noise -= noise.mean()
    return {arm: means.get(arm, 0.5) + 0.01 * noise for arm in ARMS}


def test_looks_double_and_end_with_whole_batches() -> None:
    study = study_with_interim_analyses(arms_of(), 5)
    assert interim_ends(study.batches, 5) == (4, 8, 16, 32, 64)
    assert interim_ends(study.batches, 1) == (64,)
    assert interim_ends(study.batches[:3], 5) == (2, 4, 6)


def test_a_plain_effect_stops_at_the_first_look_with_documents_enough_and_the_rest_is_not_read() -> None:
    study = study_with_interim_analyses(arms_of(local=0.0125), 5)
    assert interim_facts(study, study.whole_model["uniform"]) == {
        "look": 3, "looks": 5, "sequences": 16, "sequences_planned": 64,
    }  # fmt: skip
    assert np.isnan(study.whole_model["uniform"][16:]).all() and not np.isnan(study.whole_model["uniform"][:16]).any()
    assert interim_facts(study, study.whole_model["local"])["look"] > 3, "too near the margin to stop so early"


def test_verdicts_by_looks_are_those_of_all_text_and_say_what_they_rest_on() -> None:
    for mean, verdict in ((0.5, Verdict.PASS), (0.0, Verdict.ABSENT), (0.0101, Verdict.WARN)):
        found = learned_weights_matter(study_with_interim_analyses(arms_of(uniform=mean), 5))[0]
        whole = learned_weights_matter(study_with_interim_analyses(arms_of(uniform=mean), 1))[0]
        assert found.verdict is whole.verdict is verdict
        assert found.n == found.detail["sequences"] <= whole.n == 64
        assert "look" not in whole.detail


def test_intervals_by_looks_are_wider_than_those_of_the_same_documents() -> None:
    study = study_with_interim_analyses(arms_of(), 5)
    looked = over_documents(study, study.whole_model["uniform"])
    plain = over_documents(study_with({"uniform": 0.5}), study.whole_model["uniform"][:16])
    assert int(looked.units) == 16
    assert float(looked.high) - float(looked.low) > 2 * (float(plain.high) - float(plain.low))


def test_looks_are_between_one_and_eight() -> None:
    with pytest.raises(UsageError, match="interim analyses: expected 1 to 8, got 0"):
        Settings(interim_analyses=0)
