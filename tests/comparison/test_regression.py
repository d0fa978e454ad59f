from __future__ import annotations

import pytest
from tests.comparison.reports import finding

from heedful.comparison.record import FindingChange
from heedful.comparison.regression import check_rules, rules_broken, sentence
from heedful.errors import UsageError


def change(before: str | None, after: str | None, layer: int | None = None, **more: object) -> FindingChange:
    pair = [None if verdict is None else finding(verdict=verdict) for verdict in (before, after)]
    known = {"claim": "own_text_matters", "section": 9, "layer": layer, "before": pair[0], "after": pair[1]}
    return FindingChange(**{**known, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "layer", "rules"),
    [
        ("PASS", "PASS", None, ()),
        ("WARN", "PASS", None, ()),
        ("WARN", "ABSENT", None, ()),
        ("FAIL", "FAIL", None, ()),
        ("ERROR", "FAIL", None, ()),
        ("PASS", "WARN", None, ("verdict",)),
        ("PASS", "SKIP", None, ("verdict",)),
        ("PASS", None, None, ("verdict",)),
        ("PASS", "FAIL", None, ("verdict", "fail")),
        ("WARN", "FAIL", None, ("verdict", "fail")),
        (None, "FAIL", None, ("verdict", "fail")),
        ("INFO", "ERROR", 2, ("verdict", "fail")),
        ("PASS", "WARN", 2, ()),
        (None, "PASS", None, ()),
        ("FAIL", None, None, ()),
    ],
)
def test_verdicts_that_are_regressions(
    before: str | None, after: str | None, layer: int | None, rules: tuple[str, ...]
) -> None:
    assert rules_broken(change(before, after, layer), 1.0) == rules


SMALLER = {"paired": True, "interval": (-0.05, -0.02), "margin": 0.01, "p_adjusted": 0.01, "difference": -0.03}


@pytest.mark.parametrize(
    ("more", "tolerance", "broken"),
    [
        ({}, 1.0, True),
        ({}, 2.1, False),
        ({"interval": (0.02, 0.05)}, 1.0, False),
        ({"interval": (-0.05, -0.009)}, 1.0, False),
        ({"interval": (-0.05, -0.009)}, 0.5, True),
        ({"paired": False}, 1.0, False),
        ({"p_adjusted": 0.06}, 1.0, False),
        ({"margin": None}, 1.0, False),
        ({"interval": None}, 1.0, False),
    ],
)
def test_an_effect_is_smaller_by_the_whole_interval_and_beyond_its_margin(
    more: dict[str, object], tolerance: float, broken: bool
) -> None:
    assert rules_broken(change("PASS", "PASS", **{**SMALLER, **more}), tolerance) == (("effect",) if broken else ())


def test_a_description_has_no_worse_side() -> None:
    assert rules_broken(change("INFO", "INFO", **SMALLER), 0.0) == ()


def test_a_sentence_tells_the_rules_that_were_asked_for_alone() -> None:
    lost = change("PASS", "WARN", regressions=("verdict",))
    assert sentence(lost, ("verdict",)) == "own_text_matters: PASS -> WARN: because"
    assert sentence(lost, ("fail",)) == ""
    smaller = change("PASS", "PASS", regressions=("effect",), unit="nat", **SMALLER)
    assert (
        sentence(smaller, ("verdict", "effect")) == "own_text_matters: smaller by 0.03 nat, difference [-0.05, -0.02]"
    )
    gone = change("PASS", None, regressions=("verdict",))
    assert sentence(gone, ("verdict",)) == "own_text_matters: PASS -> not in the report"


@pytest.mark.parametrize(
    ("rules", "tolerance"),
    [(("slower",), 1.0), ((), 1.0), (("never", "fail"), 1.0), (("fail",), -1.0), (("fail",), float("nan"))],
)
def test_rules_that_make_no_sense_are_refused(rules: tuple[str, ...], tolerance: float) -> None:
    with pytest.raises(UsageError):
        check_rules(rules, tolerance)
