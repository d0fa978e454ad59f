"""Claims on derived attention are reproduced where the world is as claimed, and refuted where it is otherwise."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest
import reproductions.topics  # noqa: F401  (registers every claim)
from reproductions.answer import Answer
from reproductions.evidence import Measurements, NotMeasured
from reproductions.judging import Answered, judge
from reproductions.published import CLAIMS
from tests.reproductions import count_worlds as worlds

from reproductions.counts import tables

OURS = [name for name, claim in CLAIMS.items() if claim.note in ("000", "003")]
TESTED = [name for name in OURS if CLAIMS[name].judge is not None]


NOT_BOTH = "entropy_is_two_thirds_of_its_maximum"
"""Excluded by ``hundredth_is_nearly_uniform``, which the note claims too."""

OPPOSITE = "learning_embeddings_breaks_the_derivation"
"""What the note fears of ``learnable_embeddings_align``, which it proposes: one of the two is wrong in any world."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict[str, Answered]]:
    found = {}
    for as_claimed in (True, False):
        folder = tmp_path_factory.mktemp("world")
        worlds.write_world(folder, as_claimed)
        found[as_claimed] = {one.name: one for one in judge([CLAIMS[name] for name in OURS], Measurements(folder))}
    return found


@pytest.mark.parametrize("name", [name for name in TESTED if name not in (NOT_BOTH, OPPOSITE)])
def test_a_claim_holds_in_its_world_and_not_in_the_other(name: str, answers: dict[bool, dict[str, Answered]]) -> None:
    assert answers[True][name].answer == Answer.REPRODUCED, answers[True][name]
    assert answers[False][name].answer == Answer.REFUTED, answers[False][name]


def test_what_is_feared_of_learning_is_true_where_what_is_hoped_is_not(
    answers: dict[bool, dict[str, Answered]],
) -> None:
    assert answers[True][OPPOSITE].answer == Answer.REFUTED
    assert answers[False][OPPOSITE].answer == Answer.REPRODUCED


@pytest.mark.parametrize(("share", "answer"), [(0.65, Answer.REPRODUCED), (0.98, Answer.REFUTED)])
def test_two_thirds_of_the_entropy_are_two_thirds_of_what_rows_allow(
    tmp_path: Path, share: float, answer: Answer
) -> None:
    worlds.write_world(tmp_path, as_claimed=True)
    table = polars.read_parquet(tmp_path / "counts.parquet")
    value = polars.when(polars.col("measure") == "of_ceiling").then(share).otherwise(polars.col("value"))
    table.with_columns(value.alias("value")).write_parquet(tmp_path / "counts.parquet")
    assert judge([CLAIMS[NOT_BOTH]], Measurements(tmp_path))[0].answer == answer


def test_what_takes_a_training_is_not_tested_and_says_what_it_takes() -> None:
    assert {CLAIMS[name].note for name in TESTED} == {"000", "003"} and len(TESTED) > 40
    assert all("It " in CLAIMS[name].reason for name in OURS if CLAIMS[name].judge is None)


def test_without_measurements_nothing_is_answered(tmp_path: Path) -> None:
    assert {one.answer for one in judge([CLAIMS[name] for name in TESTED], Measurements(tmp_path))} == {Answer.UNTESTED}


def test_numbers_are_those_of_units_and_texts(tmp_path: Path) -> None:
    worlds.write_world(tmp_path, as_claimed=True)
    evidence = Measurements(tmp_path)
    found = tables.by_text(evidence, "structure", "density")
    assert list(found) == ["five", "four", "one", "six", "three", "two"]  # two slices of "one" are one text
    assert list(found.values()) == tables.by_unit(evidence, "structure", "density").tolist()
    assert tables.slope(evidence, "raw_score", worlds.SCALES, "kept") == pytest.approx(2.0, abs=1e-9)
    kept = tables.skill(evidence, "model", "kept")
    assert kept == pytest.approx(1 - 0.3 / 0.8) and tables.beyond_uniform(evidence, "model", "kept")[0] > 0.49
    with pytest.raises(NotMeasured, match="structure  colour"):
        tables.by_unit(evidence, "structure", "colour")
