"""Options and margins."""

from __future__ import annotations

import pytest

import heedful.evaluation.checks  # noqa: F401  (registers the claims that can be required)
from heedful.errors import UsageError
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.settings import Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "fast"}, "expected one of quick, standard, full; got 'fast'"),
        ({"null_models": -1}, "expected 0 or more, got -1"),
        ({"require": ("local_bias", "beauty")}, "no such claim: beauty"),
        ({"require": ("mass_by_distance",)}, "mass_by_distance: never passes or fails; expected some of "),
        ({"require": ("local_bias", "ablation_signature")}, "require: ablation_signature: never passes"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(**options)


def test_what_can_be_required_is_listed_without_descriptions() -> None:
    with pytest.raises(UsageError) as caught:
        Settings(require=("mass_by_distance",))
    offered = str(caught.value).split("expected some of ")[1].split(", ")
    assert set(offered) == set(CHECKS) - {"mass_by_distance", "ablation_signature", "beliefs_are_diverse"}
    assert Settings(require=tuple(offered)).require == tuple(offered)


@pytest.mark.parametrize(
    ("preset", "runs", "models"), [("quick", [1, 0, 0], 19), ("standard", [1, 1, 0], 19), ("full", [1, 1, 1], 99)]
)
def test_presets_hold_one_another_and_enough_null_models(preset: str, runs: list[int], models: int) -> None:
    settings = Settings(preset=preset)
    assert [settings.runs(name) for name in ("quick", "standard", "full")] == [bool(x) for x in runs]
    assert settings.nulls == models
    assert Settings(preset=preset, null_models=0).nulls == 0
    assert 1 / (settings.nulls + 1) <= settings.alpha
