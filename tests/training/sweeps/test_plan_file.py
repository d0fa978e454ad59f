"""Plans: the product they stand for, the fingerprints of its runs, and one line for whatever does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.places import DOCS

from heedful.errors import HeedfulError, InputRejected, UsageError
from heedful.training.sweeps.command import PLANS, packaged_plan
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.plan import MOST_RUNS, SweepPlan
from heedful.training.sweeps.plan_file import read_plan

PLAN = "recipe: random_attention\nfixed: {keys: 8}\naxes:\n  dim: [2, 4]\n  temperature: [1, 5e-1]\nseeds: [3, 5]\n"


def planned(folder: Path, text: str = PLAN) -> SweepPlan:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path)


def test_the_product_is_whole_and_seeds_are_innermost(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    cells = [(run.axes["dim"], run.axes["temperature"], run.seed) for run in plan.runs]
    assert cells == [(d, t, s) for d in (2, 4) for t in (1.0, 0.5) for s in (3, 5)]
    assert [run.number for run in plan.runs] == list(range(1, 9))
    assert len({run.fingerprint for run in plan.runs}) == 8
    assert plan.runs[2].title == "dim=2 temperature=0.5 seed=3"


def test_a_number_that_yaml_takes_for_text_is_a_number(tmp_path: Path) -> None:
    values = planned(tmp_path).axes["temperature"]
    assert values == [1.0, 0.5] and all(type(value) is float for value in values)


def test_the_same_settings_keep_their_fingerprint(tmp_path: Path) -> None:
    """However a plan is written: fixed or an axis, with or without the default, among other values."""
    before = {run.title: run.fingerprint for run in planned(tmp_path).runs}
    text = "recipe: random_attention\nfixed: {temperature: 0.5, keys: 8, heads: 4}\naxes: {dim: [7, 4]}\nseeds: [5]\n"
    after = {run.title: run.fingerprint for run in planned(tmp_path, text).runs}
    assert after["dim=4 seed=5"] == before["dim=4 temperature=0.5 seed=5"]
    assert after["dim=7 seed=5"] not in before.values()


def test_a_run_is_named_by_number_or_fingerprint(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.run_named("3") is plan.runs[2] and plan.run_named(plan.runs[5].fingerprint) is plan.runs[5]
    for name in ("0", "9", "x", ""):
        with pytest.raises(UsageError, match="expected a number from 1 to 8, or the fingerprint"):
            plan.run_named(name)


def test_the_folder_keeps_the_plan_and_it_gives_the_same_runs(tmp_path: Path) -> None:
    plan, folder = planned(tmp_path), SweepFolder(tmp_path / "S")
    assert folder.adopt(plan) == "" and folder.adopt(plan) == ""
    assert folder.plan() == plan == read_plan(folder.kept(plan))
    other = planned(tmp_path, PLAN.replace("[3, 5]", "[3, 7, 8]"))
    folder.place(plan.runs[0]).path.mkdir()
    folder.place(plan.runs[1]).path.mkdir()
    message = folder.adopt(other)
    assert "the plan changed: 1 of 12 runs stand here already and are kept, 11 are new; 1 no longer planned" in message
    assert folder.plan() == other and read_plan(folder.kept(plan)) == plan


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(HeedfulError, match="not an empty folder and no sweep, nothing was changed"):
        SweepFolder(tmp_path).adopt(planned(tmp_path))
    with pytest.raises(UsageError, match=r"no plan\.json, so no sweep"):
        SweepFolder(tmp_path / "absent").plan()


@pytest.mark.fault
@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "x"}', '{"schema": "heedful.sweep-plan/1", "runs": 3}'])
def test_a_broken_record_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(InputRejected, match=r"plan\.json: ") as refused:
        SweepFolder(tmp_path).plan()
    assert "\n" not in str(refused.value)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("seeds:", "seed:"), "seed: unknown key, expected one of recipe, text, fixed"),
        (("seeds: [3, 5]\n", ""), "seeds: expected a list of whole numbers, got none"),
        (("[3, 5]", "[]"), "seeds: expected a list of whole numbers, got none"),
        (("[3, 5]", "[3, 5.5]"), "seeds: expected whole numbers from 0 to 4,294,967,295, got 5.5"),
        (("[3, 5]", "[3, true]"), "seeds: expected whole numbers from 0 to 4,294,967,295, got true"),
        (("[3, 5]", "[3, -1]"), "seeds: expected whole numbers from 0 to 4,294,967,295, got -1"),
        (("[3, 5]", "[3, 3]"), "seeds: 3 stands twice"),
        (("[2, 4]", "[]"), "axes: dim: the axis is empty"),
        (("[2, 4]", "2"), r"axes: dim: expected a list of values \(write \[2\]\)"),
        (("[2, 4]", "[2, 2]"), "axes: dim: 2 stands twice"),
        (("[1, 5e-1]", "[0.5, 5e-1]"), r"axes: temperature: 0\.5 stands twice"),
        (("[2, 4]", "[2, 4.5]"), r"axes: dim: expected a whole number, got 4\.5"),
        (("[2, 4]", "[2, true]"), "axes: dim: expected a whole number, got true"),
        (("[2, 4]", "[2, [3]]"), r"axes: dim: expected a whole number, got \[3\]"),
        (("[1, 5e-1]", "[1, hot]"), 'axes: temperature: expected a number, got "hot"'),
        (("[1, 5e-1]", "[1, -1]"), r"run 3 \(dim=2 temperature=-1\.0 seed=3\): temperature: expected a positive"),
        (("dim:", "dims:"), "axes: dims: no setting of random_attention"),
        (("dim:", "seed:"), "axes: seed: seeds have a key of their own"),
        (("keys:", "dim:"), "axes: dim: stands under fixed too"),
        (
            ("random_attention", "nothing"),
            "recipe: expected one of decoder, derived, gauge, random_attention; got 'nothing'",
        ),
        (("recipe:", "recipe: [1]\n#"), "recipe: expected one of decoder"),
        (("fixed: {keys: 8}", "fixed: 3"), "fixed: expected a setting and its value a line"),
        (("fixed:", "text: a.txt\nfixed:"), "text: random_attention reads no text"),
        (("fixed:", "track: 5\nfixed:"), "track: random_attention trains nothing"),
        (("fixed:", "measures: [heads]\nfixed:"), 'measures: "heads" is none of random_attention\'s'),
        (("recipe:", "recipe: x\nrecipe:"), "a key stands twice"),
        (("[3, 5]", "!!python/object/apply:os.getcwd []"), "expected plain YAML"),
    ],
)
def test_bad_plans_are_one_line_with_file_and_key(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputRejected, match=told) as refused:
        planned(tmp_path, PLAN.replace(*change, 1))
    assert str(refused.value).startswith(str(tmp_path / "plan.yaml")) and "\n" not in str(refused.value)


@pytest.mark.fault
def test_a_product_that_is_too_large_is_refused_before_it_is_made(tmp_path: Path) -> None:
    text = PLAN.replace("[2, 4]", json.dumps(list(range(1, 1500))))
    with pytest.raises(InputRejected, match=f"axes: expected at most {MOST_RUNS:,} runs, the product has 5,996"):
        planned(tmp_path, text)
    with pytest.raises(UsageError, match="expected a file or folder, found none"):
        read_plan(tmp_path / "absent.yaml")
    (tmp_path / "plan.txt").write_text(text)
    with pytest.raises(InputRejected, match="expected a plan that ends in"):
        read_plan(tmp_path / "plan.txt")


def test_a_training_plan_depends_on_its_text_and_its_measures(tmp_path: Path) -> None:
    """Paths are seen from the plan; what changes nothing about the weights changes no fingerprint."""
    (tmp_path / "a.txt").write_text("one text")
    text = "recipe: decoder\ntext: a.txt\naxes: {qk_norm: [true, false]}\nseeds: [0]\n"
    plan = planned(tmp_path, text)
    assert plan.text == [str(tmp_path / "a.txt")] and plan.measures == ["held_out", "heads"]

    def prints(changed: str) -> list[str]:
        return [run.fingerprint for run in planned(tmp_path, changed).runs]

    before = [run.fingerprint for run in plan.runs]
    assert prints(text + "fixed: {save_every: 3}\n") == before
    assert prints(text + "fixed: {learning_rate: 1e-3}\n") != before
    assert prints(text + "measures: [held_out]\n") != before and prints(text + "track: 5\n") != before
    (tmp_path / "a.txt").write_text("another text")
    assert prints(text) != before
    for change, message in {
        "fixed: {steps: 0}": "steps 0: expected at least 1",
        "fixed: {held_out: 0.95}": r"held_out 0\.95: expected from 0 to 0\.9",
        "fixed: {precision: float16}": "precision 'float16': expected one of float32, bfloat16",
        "fixed: {preset: huge}": "preset 'huge': expected one of tiny",
        "fixed: {trackers: [a]}": "fixed: trackers: no setting of decoder",
        "fixed: {length: no}": "fixed: length: expected a whole number or nothing",
    }.items():
        with pytest.raises(InputRejected, match=message):
            planned(tmp_path, text + change + "\n")


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_of_the_package_is_found_by_name_and_fits(name: str) -> None:
    plan = read_plan(packaged_plan(Path(name)))
    assert plan.recipe == "gauge" and len(plan.seeds) >= 3 and name in plan.axes


def test_a_file_of_that_name_is_taken_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert packaged_plan(Path("kappa")) != Path("kappa")
    (tmp_path / "kappa").write_text("mine")
    assert packaged_plan(Path("kappa")) == Path("kappa") and packaged_plan(Path("x.yaml")) == Path("x.yaml")


CELLS = "recipe: random_attention\ncells:\n  plain: {}\n  cold, wide: {temperature: 0.5, dim: 8}\nseeds: [3, 5]\n"


def test_named_cells_are_no_product(tmp_path: Path) -> None:
    plan = planned(tmp_path, CELLS)
    assert plan.axes == {"cell": ["plain", "cold, wide"]}
    assert [run.title for run in plan.runs] == [f"cell={c} seed={s}" for c in ("plain", "cold, wide") for s in (3, 5)]
    product = planned(tmp_path, "recipe: random_attention\nfixed: {temperature: 0.5, dim: 8}\nseeds: [5]\n")
    assert product.runs[0].fingerprint == plan.runs[3].fingerprint
    folder = SweepFolder(tmp_path / "S")
    folder.adopt(plan)
    assert folder.plan() == plan == read_plan(folder.kept(plan))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("cells: [1]", "cells: expected a name and its settings a line, got list"),
        ("cells: {a: 1}", "cells: a: expected its settings"),
        ("cells: {a: {depth: 1}}", "cells: a: depth: no setting of random_attention"),
        ("cells: {a: {dim: x}}", "cells: a: dim: expected a whole number"),
        ("cells: {a: {dim: 2}}\nfixed: {dim: 4}", "cells: a: dim: stands under fixed or axes too"),
    ],
)
def test_bad_cells_are_one_line(words: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputRejected) as refused:
        planned(tmp_path, f"recipe: random_attention\n{words}\nseeds: [0]\n")
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_the_plan_of_derived_attention_fits() -> None:
    plan = read_plan(DOCS / "sweeps" / "derived.yaml")
    assert len(plan.runs) == 3 * len(plan.cells) and next(iter(plan.cells)) == "none"
    assert len({run.fingerprint for run in plan.runs}) == len(plan.runs)
