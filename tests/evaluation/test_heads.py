"""The head table: verdicts at the margins, and named patterns."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.evaluation.stub import documents, stub_study
from torch import nn

from heedful.attention.registry import STATISTICS
from heedful.evaluation.heads import could_be_selective, head_rows

QUIET = dict.fromkeys((*STATISTICS, "log_contrast"), 0.0) | {"effective_keys": 30.0, "concentration": 0.2}


def table(induction: float | None = None, count: int = 20, duplicate: float = 0.0, **means: float) -> list[Any]:
    """The rows of one head with these means, and of one that is quiet."""
    values = {name: documents([means.get(name, quiet), quiet], 0.001, count) for name, quiet in QUIET.items()}
    values["concentration"] = np.exp(documents([math.log(means.get("concentration", 0.2)), -1.6], 0.01, count))
    masses = {"induction_mass": induction or 0.0, "duplicate_mass": duplicate}
    made = SimpleNamespace(stacked=lambda name: documents([masses[name], 0.0], 0.001))
    repeats = None if induction is None else made
    study = stub_study((2,), hides_future=True, on_repeats=repeats, units=lambda x: x)
    study.observed.stacked = values.__getitem__
    study.observed.layers[0].module = nn.Identity()
    return head_rows(study)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ({"concentration": 0.03}, "DIFFUSE"),
        ({"concentration": 0.0499}, "WEAK"),
        ({"concentration": 0.0501}, "WEAK"),
        ({"concentration": 0.497}, "WEAK"),
        ({"concentration": 0.51}, "SELECTIVE"),
        ({"concentration": 0.51, "max_weight": 0.499}, "SELECTIVE"),
        ({"concentration": 0.51, "max_weight": 0.51}, "SHARP"),
        ({"concentration": 0.51, "effective_keys": 4.01}, "SELECTIVE"),
        ({"concentration": 0.51, "effective_keys": 3.9}, "SHARP"),
        ({"concentration": 0.3, "max_weight": 0.9}, "WEAK"),
        ({"concentration": math.nan}, "UNDEFINED"),
    ],
)
def test_a_verdict_needs_the_whole_interval_beyond_its_margin(means: dict[str, float], verdict: str) -> None:
    row, quiet = table(**means)
    assert row.verdict == verdict, row.reason
    assert quiet.verdict == "WEAK"
    assert row.reason


@pytest.mark.parametrize(
    ("induction", "means", "pattern"),
    [
        (None, {}, ""),
        (0.6, {"previous_mass": 0.5}, "induction"),
        (0.1, {"previous_mass": 0.5, "sink_mass": 0.5}, "previous token"),
        (None, {"self_mass": 0.5}, "own token"),
        (None, {"sink_mass": 0.35, "previous_mass": 0.3}, "first key"),
        (0.3, {"log_contrast": 1.0}, "partly induction"),
        (0.3, {"sink_mass": 0.6}, "partly induction"),
        (0.1, {"sink_mass": 0.6, "previous_mass": 0.3}, "first key"),
        (0.1, {"duplicate": 0.5}, "duplicate token"),
        (0.1, {"duplicate": 0.3, "sink_mass": 0.6}, "partly duplicate token"),
        (None, {"previous_mass": 0.25}, "partly previous token"),
        (None, {"log_contrast": 0.3}, "local"),
        (None, {"log_contrast": 0.2231}, ""),
    ],
)
def test_a_pattern_is_named_by_its_margin(induction: float | None, means: dict[str, float], pattern: str) -> None:
    row, quiet = table(induction, **means)
    assert (row.pattern, quiet.pattern) == (pattern, "")
    shown = row.statistics["induction_mass"]
    assert shown == pytest.approx(induction if induction is not None else math.nan, nan_ok=True)


def test_every_statistic_and_place_stands_in_the_row() -> None:
    row = table(max_weight=0.3)[0]
    assert (row.layer, row.head, row.module, row.label) == (0, 0, "layer.0", "L0H0")
    assert set(row.statistics) == {*STATISTICS, "log_contrast", "induction_mass", "duplicate_mass"}
    assert row.statistics["max_weight"] == pytest.approx(0.3)


def probed(**arrays: np.ndarray) -> Any:
    """The first row of two heads whose evidence holds arrays of the pattern probes, too."""
    values = {name: documents([quiet, quiet], 0.001) for name, quiet in QUIET.items()}
    values["sink_mass"] = documents([0.6 if "first" in arrays else 0.0, 0.0], 0.001)
    arrays.pop("first", None)
    study = stub_study((2,), hides_future=True, on_repeats=None, units=lambda x: x)
    study.observed.layers[0].values = arrays
    study.observed.stacked = (values | arrays).__getitem__
    return head_rows(study)[0]


OFFSETS_AT = np.zeros((20, 2, 17))
NEAR, LATER = documents([0.7, 0.0], 0.01), documents([0.5, 0.0], 0.01)
PLACES = np.tile([4.0, 9.0], (20, 1))
SCATTERED = np.stack([np.arange(20.0), np.arange(20.0)], axis=1)


@pytest.mark.parametrize(
    ("arrays", "pattern"),
    [
        ({"offset_mass": OFFSETS_AT + 0.6 * (np.arange(17) == 5)}, "offset -3"),
        ({"offset_mass": OFFSETS_AT + 0.6 * (np.arange(17) == 10)}, "offset +2"),
        ({"offset_mass": OFFSETS_AT + 0.39 * (np.arange(17) == 5)}, ""),
        ({"offset_mass": OFFSETS_AT + 0.6 * (np.arange(17) == 7)}, ""),  # the previous token has a name of its own
        ({"later_sink_mass": LATER, "later_sink_key": PLACES}, "sink at key 4"),
        ({"later_sink_mass": LATER, "later_sink_key": SCATTERED}, "later sink"),
        ({"later_sink_mass": LATER, "later_sink_key": PLACES, "near_zero_mass": NEAR}, "dormant, sink at key 4"),
        ({"near_zero_mass": NEAR}, "dormant"),
        ({"near_zero_mass": NEAR, "first": np.ones(1)}, "dormant sink"),
        ({"near_zero_mass": LATER, "first": np.ones(1)}, "first key"),
    ],
)
def test_patterns_of_the_probes_are_named(arrays: dict[str, np.ndarray], pattern: str) -> None:
    assert probed(**arrays).pattern == pattern


def test_figures_of_the_probes_stand_in_the_row() -> None:
    peaks = np.array([[1.0, 2.0], [np.nan, 9.0], [-3.0, 4.0]])
    row = probed(max_logit=peaks, offset_mass=OFFSETS_AT + 0.6 * (np.arange(17) == 5))
    assert row.statistics["max_logit"] == 1.0
    assert (row.statistics["offset"], row.statistics["offset_mass"]) == (-3.0, pytest.approx(0.6))


@pytest.mark.parametrize(("concentration", "count"), [(0.499, 1), (0.3, 0), (3.0, 1)])
def test_heads_that_might_be_selective_are_counted(concentration: float, count: int) -> None:
    values = np.exp(documents([math.log(concentration), -2.0], 0.05))
    study = stub_study((2,), units=lambda x: x)
    study.observed.stacked = lambda name: values
    assert could_be_selective(study) == count
