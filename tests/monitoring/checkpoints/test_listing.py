"""Steps are read from names or the Trainer's state; what cannot be put in order is refused in one line."""

import json
from pathlib import Path

import pytest

from heedful.errors import UsageError
from heedful.loading.run_files import RECORD, WHOLE
from heedful.monitoring.checkpoints.listing import find_checkpoints


def folder(place: Path, step: int | None = None) -> Path:
    place.mkdir(parents=True)
    if step is not None:
        (place / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return place


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-100", 100), ("step_0020", 20), ("step1000", 1000), ("run3-ckpt7.safetensors", 7), ("40", 40),
        ("model-iter_5.pt", 5), ("global_step12", 12),
    ],
)  # fmt: skip
def test_a_step_is_read_from_its_name(name: str, step: int, tmp_path: Path) -> None:
    other = folder(tmp_path / "checkpoint-999999")
    assert [one.step for one in find_checkpoints([str(other), str(tmp_path / name)])] == [step, 999999]


def test_step_folders_come_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        folder(tmp_path / f"checkpoint-{step}")
    folder(tmp_path / "runs")
    assert [one.step for one in find_checkpoints([str(tmp_path)])] == [3, 20, 100]
    (tmp_path / RECORD).write_text("{}")
    (tmp_path / "checkpoint-20" / WHOLE).write_text("{}")
    assert [one.step for one in find_checkpoints([str(tmp_path)])] == [20]


def test_the_trainers_state_tells_the_step_that_a_name_does_not(tmp_path: Path) -> None:
    names = [folder(tmp_path / "last", 70), folder(tmp_path / "best", 40)]
    assert [one.step for one in find_checkpoints(list(map(str, names)))] == [40, 70]


def test_a_single_model_needs_no_step(tmp_path: Path) -> None:
    assert [(one.name, one.step) for one in find_checkpoints(["all-MiniLM-L6-v2"])] == [("all-MiniLM-L6-v2", 0)]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("checkpoint-1", "last"), "does not say its own"),
        (("checkpoint-1", "other/step_1"), "both are of step 1"),
        (("checkpoint-1", "checkpoint-1"), "both are of step 1"),
    ],
)
def test_no_order_is_refused(names: tuple[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        find_checkpoints([str(tmp_path / name) for name in names])
