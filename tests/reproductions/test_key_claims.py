"""Claims on keys are reproduced where the world is as claimed, and not where it is otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import reproductions.topics  # noqa: F401  (registers every claim)
from reproductions.answer import Answer
from reproductions.evidence import Measurements
from reproductions.judging import Answered, judge
from reproductions.published import CLAIMS
from tests.reproductions import key_worlds as worlds

from heedful.inference.verdict import Verdict

TESTED = [name for name, claim in CLAIMS.items() if claim.note == "002" and claim.judge is not None]
OTHER_WORLDS = {
    "norm_sets_sharpness": "both worlds hold attention as it is under scaling",
    "penalty_prevents_sinks": "no world has other sinks with it",
    "dominant_components_make_sinks": "share and sinks are unrelated in both",
    "one_run_shows_the_profile": "seeds are alike in both",
    "normalised_length_is_fixed": "a world of long and short keys has no fixed length",
    "early_fall_is_learnt": "runs without decay change as those with it do",
    "entropy_vanishes_beyond_norm_11": "entropy falls with norm, but not to nothing",
    "rotation_keeps_likeness": "tested apart",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict[str, Answered]]:
    found = {}
    for as_claimed in (True, False):
        folder = tmp_path_factory.mktemp("world")
        worlds.write_world(folder, as_claimed)
        wanted = [claim for claim in CLAIMS.values() if claim.note == "002"]
        found[as_claimed] = {one.name: one for one in judge(wanted, Measurements(folder))}
    return found


@pytest.mark.parametrize("name", [name for name in TESTED if name not in OTHER_WORLDS])
def test_a_claim_holds_in_its_world_and_not_in_the_other(name: str, answers: dict[bool, dict[str, Answered]]) -> None:
    assert answers[True][name].answer == Answer.REPRODUCED, answers[True][name]
    assert answers[False][name].answer in (Answer.REFUTED, Answer.OPEN), answers[False][name]


@pytest.mark.parametrize("name", OTHER_WORLDS)
def test_every_other_claim_is_answered_too(name: str, answers: dict[bool, dict[str, Answered]]) -> None:
    assert all(
        answers[world][name].answer != Answer.UNTESTED
        for world in (True, False)
        if name != "entropy_vanishes_beyond_norm_11"
    )


def test_scaling_that_changes_nothing_refutes_that_norm_sets_sharpness(
    answers: dict[bool, dict[str, Answered]],
) -> None:
    first = answers[True]["norm_sets_sharpness"].findings[0]
    assert first.verdict == Verdict.ABSENT and first.estimate == 0


def test_rotation_that_changes_cosines_is_seen(answers: dict[bool, dict[str, Answered]]) -> None:
    assert answers[True]["rotation_keeps_likeness"].answer == Answer.REPRODUCED
    assert answers[False]["rotation_keeps_likeness"].answer == Answer.REFUTED


def test_without_measurements_nothing_is_answered(tmp_path: Path) -> None:
    assert {one.answer for one in judge([CLAIMS[name] for name in TESTED], Measurements(tmp_path))} == {Answer.UNTESTED}


def test_what_luck_would_show_as_often_settles_nothing(tmp_path: Path) -> None:
    document: dict[str, Any] = worlds.pruned(as_claimed=True)
    name = "redundant_layers_are_the_cheap_ones"

    def verdicts() -> list[str]:
        (tmp_path / "pruned-layers-pretrained.json").write_text(json.dumps(document))
        return [str(finding.verdict) for finding in judge([CLAIMS[name]], Measurements(tmp_path))[0].findings]

    assert verdicts() == ["PASS", "PASS", "PASS"]
    document["savings"][0]["p"] = document["correlations"][0]["p"] = 0.4
    assert verdicts() == ["PASS", "INSUFFICIENT DATA", "INSUFFICIENT DATA"]


def test_the_last_layers_are_judged_and_not_those_that_other_layers_replace(tmp_path: Path) -> None:
    """Dear layers elsewhere do not refute that the last three can go; another model's do not either."""
    document: dict[str, Any] = worlds.pruned(as_claimed=False)
    for one in document["units"][-3:]:
        one["price"] = worlds.effect(0.001)
    for model in ("note", "pretrained"):
        (tmp_path / f"pruned-layers-{model}.json").write_text(json.dumps(document))
    found = judge([CLAIMS["deep_redundant_layers_can_be_pruned"]], Measurements(tmp_path))[0]
    assert (
        found.answer == Answer.REPRODUCED
        and [str(one.verdict) for one in found.findings] == ["PASS"] * 3 + ["INFO"] * 3
    )
    (tmp_path / "pruned-layers-note.json").unlink()
    assert judge([CLAIMS["deep_redundant_layers_can_be_pruned"]], Measurements(tmp_path))[0].answer == Answer.UNTESTED


def test_an_effect_without_numbers_settles_nothing(tmp_path: Path) -> None:
    document = worlds.quantized(as_claimed=True)
    document["trials"][0]["quantized"]["loss"] = {"estimate": None, "low": None, "high": None, "n": 3}
    (tmp_path / "quantized-embedded.json").write_text(json.dumps(document))
    found = judge([CLAIMS["outliers_break_quantisation"]], Measurements(tmp_path))[0]
    assert (found.answer, found.findings[0].verdict) == (Answer.OPEN, Verdict.INSUFFICIENT)
