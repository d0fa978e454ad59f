"""One run: its numbers are written once, its failure in one line, and nothing is made twice."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from heedful.errors import InputRejected, UsageError
from heedful.training.sweeps import recipe as registry
from heedful.training.sweeps.claim import ClaimLost, Held, claimed
from heedful.training.sweeps.folder import State, SweepFolder
from heedful.training.sweeps.one_run import make_run
from heedful.training.sweeps.own_recipes import RandomAttention, random_attention
from heedful.training.sweeps.plan import SweepPlan
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.recipe import RunMeasure, SweepRecipe, Workplace, read_measured, save_measured

PLAN = "recipe: random_attention\nfixed: {keys: 8, heads: 2}\naxes: {dim: [2, 4]}\nseeds: [0, 1]\n"


@pytest.fixture
def planned(tmp_path: Path) -> tuple[SweepPlan, SweepFolder]:
    (tmp_path / "plan.yaml").write_text(PLAN)
    plan, folder = read_plan(tmp_path / "plan.yaml"), SweepFolder(tmp_path / "S")
    folder.adopt(plan)
    return plan, folder


def cook(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    recipe = SweepRecipe(name="random_attention", settings=RandomAttention, make=make)
    monkeypatch.setitem(registry.RECIPES, "random_attention", lambda: recipe)


def test_a_run_is_made_once_and_its_numbers_are_kept(planned: tuple[SweepPlan, SweepFolder]) -> None:
    plan, folder = planned
    run, place = plan.runs[2], folder.place(plan.runs[2])
    assert place.standing(run).state is State.WAITING
    seen: list[tuple[int, int]] = []
    assert make_run(plan, run, folder, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(1, 1)] and place.standing(run).state is State.FINISHED
    measured, facts = read_measured(place.measures)
    assert facts["run"] == run.fingerprint and facts["axes"] == {"dim": 4} and facts["seed"] == 0
    work = Workplace(
        folder=place.path, documents=None, measures=(), track=None, progress=lambda *_: None, tell=lambda _: None
    )
    assert measured == random_attention(RandomAttention(keys=8, heads=2, dim=4, seed=0), work)
    before = place.measures.stat().st_mtime_ns
    assert not make_run(plan, run, folder) and place.measures.stat().st_mtime_ns == before
    assert not (place.path / "progress.json").exists()


def test_a_failure_is_one_line_and_is_gone_when_it_works(
    planned: tuple[SweepPlan, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = planned
    run, place = plan.runs[0], folder.place(plan.runs[0])

    def broken(_settings: Any, _work: Workplace) -> list[RunMeasure]:
        raise ZeroDivisionError("first line\nsecond line")

    with monkeypatch.context() as patch:
        cook(patch, broken)
        with pytest.raises(ZeroDivisionError):
            make_run(plan, run, folder)
    standing = place.standing(run)
    assert (standing.state, standing.detail) == (State.FAILED, "ZeroDivisionError: first line")
    assert make_run(plan, run, folder) and place.standing(run).state is State.FINISHED
    assert not place.failure.exists()


def test_what_stops_a_run_is_no_failure(
    planned: tuple[SweepPlan, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = planned
    run, place = plan.runs[0], folder.place(plan.runs[0])

    def stopped(_settings: Any, work: Workplace) -> list[RunMeasure]:
        work.progress(1, 4, "half")
        assert place.progress() == (1, 4, "half") and place.standing(run).state is State.RUNNING
        raise KeyboardInterrupt

    cook(monkeypatch, stopped)
    with pytest.raises(KeyboardInterrupt):
        make_run(plan, run, folder)
    assert place.standing(run).state is State.STOPPED and not place.failure.exists()


def test_a_run_of_another_is_left_alone(planned: tuple[SweepPlan, SweepFolder]) -> None:
    plan, folder = planned
    place = folder.place(plan.runs[0])
    place.path.mkdir(parents=True)
    with claimed(place.path), pytest.raises(Held):
        make_run(plan, plan.runs[0], folder)
    assert not place.finished and not place.failure.exists()


def test_a_run_that_was_taken_over_writes_nothing(
    planned: tuple[SweepPlan, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = planned
    place = folder.place(plan.runs[0])

    def slow(_settings: Any, work: Workplace) -> list[RunMeasure]:
        claim = next(place.path.glob("claim-*"))
        (claim.parent / "claim-000002").write_text("{}")
        for _ in range(2000):
            work.progress(0, 1, "on and on")
            time.sleep(0.005)
        raise AssertionError("never stopped")

    import heedful.training.sweeps.one_run as one_run

    monkeypatch.setattr(one_run, "claimed", lambda path: claimed(path, beat=0.001))
    cook(monkeypatch, slow)
    with pytest.raises(ClaimLost):
        make_run(plan, plan.runs[0], folder)
    assert not place.failure.exists() and not place.finished


def test_numbers_come_back_and_nan_is_null(tmp_path: Path) -> None:
    path = tmp_path / "measures.json"
    whole = RunMeasure(measure="a", value=1.5, unit="nat", n=3, layer=0, head=0, label="l0", verdict="SHARP")
    save_measured(
        path, [whole, RunMeasure(measure="b", value=math.nan), RunMeasure(measure="c", value=math.inf)], {"x": 1}
    )
    found, facts = read_measured(path)
    assert found[0] == whole and found[1] == RunMeasure(measure="b", value=None) and found[2].value is None
    assert facts == {"x": 1}


@pytest.mark.fault
@pytest.mark.parametrize(
    "content", ["{", "{}", '{"schema": "heedful.measures/1"}', '{"schema": "heedful.measures/1", "measures": [{}]}']
)
def test_broken_numbers_are_refused_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputRejected, match=r"m\.json: ") as refused:
        read_measured(tmp_path / "m.json")
    assert "\n" not in str(refused.value)


def test_random_attention_is_near_what_a_normal_logit_gives(tmp_path: Path) -> None:
    """Half the variance of the logits in nats, where dimensions are many and the temperature is warm."""
    work = Workplace(
        folder=tmp_path, documents=None, measures=(), track=None, progress=lambda *_: None, tell=lambda _: None
    )
    settings = RandomAttention(dim=256, keys=512, temperature=2.0, heads=8, sequences=16)
    found = [one.value for one in random_attention(settings, work) if one.measure == "concentration"]
    assert len(found) == 8
    assert sum(value or 0.0 for value in found) / 8 == pytest.approx(0.125, rel=0.05)
    for change in ({"dim": 0}, {"keys": 1}, {"temperature": 0.0}, {"temperature": math.nan}):
        with pytest.raises(UsageError, match=f"{next(iter(change))}: expected"):
            RandomAttention(**change)


def test_a_recipe_is_known_by_its_name_and_takes_a_seed() -> None:
    for name, give in registry.RECIPES.items():
        recipe = give()
        assert recipe.name == name and "seed" in recipe.settings.__dataclass_fields__
