"""Checkpoints that were cut, changed, or lost a part: refused before anything is loaded, with the way back."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heedful.errors import InputRejected
from heedful.loading.documents import Documents
from heedful.loading.loaded_model import load_model
from heedful.loading.run_files import UNLISTED, WHOLE, parts_of, verify_checkpoint
from heedful.training.decoder_run import train_decoder
from heedful.training.run_folder import RunFolder
from heedful.training.run_settings import RunSettings

pytestmark = pytest.mark.fault
SETTINGS = RunSettings(steps=6, save_every=2, batch=2, length=16, vocabulary=270)
LAST, BEFORE = "checkpoint-4", "checkpoint-2"
PARTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@pytest.fixture(scope="module")
def documents() -> Documents:
    draw = random.Random(1)
    words = ["and", "the", "king", "of", "israel", "went", "up", "unto", "him", "behold"]
    texts = tuple(" ".join(draw.choices(words, k=40)) for _ in range(24))
    return Documents(names=tuple(f"d{i}" for i in range(24)), texts=texts, origin="made up")


@pytest.fixture(scope="module")
def begun(documents: Documents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that was stopped at the fifth: two checkpoints."""
    out = tmp_path_factory.mktemp("run") / "stopped"

    def stop(done: int, _steps: int, _what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_decoder(SETTINGS, documents, out, progress=stop)
    return out


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun, tmp_path / "run")
    return tmp_path / "run"


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def of_another(path: Path) -> None:
    shutil.copyfile(path.parent.parent / BEFORE / path.name, path)


def linked(path: Path) -> None:
    path.rename(path.parent.parent / f"elsewhere-{path.name}")
    path.symlink_to(path.parent.parent / f"elsewhere-{path.name}")


def step_of_a_billion(path: Path) -> None:
    tree = json.loads((path.parent / "trainer_state.json").read_text())
    (path.parent / "trainer_state.json").write_text(json.dumps({**tree, "global_step": 10**9}))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", [Path.unlink, cut, flipped, of_another, linked, step_of_a_billion])
def test_damage_is_refused_with_the_checkpoint_to_go_back_to(
    damage: Callable[[Path], None], part: str, run: Path, documents: Documents
) -> None:
    damage(run / LAST / part)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputRejected) as refused:
        train_decoder(SETTINGS, documents, run, resume=True)
    message = str(refused.value)
    assert message.isprintable() and "weights_only" not in message
    assert BEFORE in message or damage is linked, message
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_what_the_message_advises_works(run: Path, documents: Documents) -> None:
    flipped(run / LAST / "model.safetensors")
    with pytest.raises(InputRejected, match=f"remove {LAST} and give --resume again to go back to {BEFORE}"):
        train_decoder(SETTINGS, documents, run, resume=True)
    shutil.rmtree(run / LAST)
    train_decoder(SETTINGS, documents, run, resume=True)
    assert (run / "held_out.json").is_file()


def test_where_none_is_sound_that_is_told(run: Path, documents: Documents) -> None:
    for name in (LAST, BEFORE):
        (run / name / "optimizer.pt").unlink()
    with pytest.raises(InputRejected, match="there is no earlier one to go back to"):
        train_decoder(SETTINGS, documents, run, resume=True)


def test_a_forged_mark_must_still_hold_the_whole_state(run: Path, documents: Documents) -> None:
    """A mark that was made anew for what is left does not make it whole."""
    (run / LAST / "rng_state.pth").unlink()
    (run / LAST / WHOLE).write_text(json.dumps({"step": 4, "parts": parts_of(run / LAST)}))
    with pytest.raises(InputRejected, match=r"rng_state.pth is missing"):
        train_decoder(SETTINGS, documents, run, resume=True)


@pytest.mark.parametrize(
    "mark", ['{"step": 4, "parts": 7}', '{"step": 4, "parts": {"a": 1}}', "[]", "{", '{"step": 1}']
)
def test_a_strange_mark_is_refused(mark: str, run: Path) -> None:
    (run / LAST / WHOLE).write_text(mark)
    with pytest.raises(InputRejected):
        RunFolder(run).verified_checkpoint()


def test_a_file_that_is_not_of_it_is_refused(run: Path) -> None:
    (run / LAST / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputRejected, match=r"pytorch_model.bin is not of it"):
        RunFolder(run).verified_checkpoint()


def test_checkpoints_of_an_older_heedful_are_resumed_with_a_note(run: Path, documents: Documents) -> None:
    for name, step in ((LAST, 4), (BEFORE, 2)):
        (run / name / WHOLE).write_text(json.dumps({"step": step}))
    messages: list[str] = []
    train_decoder(SETTINGS, documents, run, resume=True, tell=messages.append)
    assert f"{LAST}: {UNLISTED}" in messages


def test_a_state_that_is_a_program_is_not_run(run: Path, documents: Documents, tmp_path: Path) -> None:
    import pickle
    import zipfile

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "RAN"), "w")

    with zipfile.ZipFile(run / LAST / "rng_state.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload()))
        archive.writestr("archive/version", "3")
    (run / LAST / WHOLE).write_text(json.dumps({"step": 4, "parts": parts_of(run / LAST)}))
    with pytest.raises(InputRejected) as refused:
        train_decoder(SETTINGS, documents, run, resume=True)
    assert "weights_only" not in str(refused.value) and not (tmp_path / "RAN").exists()


def test_a_checkpoint_that_is_read_as_a_model_is_compared_with_its_mark(run: Path) -> None:
    assert not any("mark" in note for note in load_model(run / LAST).notes)
    flipped(run / LAST / "model.safetensors")
    with pytest.raises(InputRejected, match=r"model.safetensors was changed"):
        load_model(run / LAST)


def test_links_in_a_run_folder_are_refused(run: Path, documents: Documents, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (run / "checkpoint-6").symlink_to(tmp_path / "victim")
    with pytest.raises(InputRejected, match="a symbolic link"):
        train_decoder(SETTINGS, documents, run, resume=True)
    assert not list((tmp_path / "victim").iterdir())


def test_a_run_begun_otherwise_is_still_told_first(run: Path, documents: Documents) -> None:
    with pytest.raises(Exception, match="begun with"):
        train_decoder(replace(SETTINGS, seed=7), documents, run, resume=True)
    assert verify_checkpoint(run / LAST) == ()
