"""F01, F04: files that are not there, are something else, are cut off or have flipped bits."""

import os
import random
from pathlib import Path

import pytest
import torch
from tests.loading import material

from heedful.loading.loaded_model import load_model

pytestmark = pytest.mark.fault
FLIPS = 100


@pytest.mark.parametrize("name", ["gone.pt", "./gone", "a/b/gone", "gone.safetensors"])
def test_f01_a_missing_path_is_a_usage_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    material.refused(lambda: load_model(name), 2, "gone")
    material.refused(lambda: load_model(tmp_path / name), 2, "gone")


def test_f01_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    material.refused(lambda: load_model(tmp_path), 3, "config.json", str(tmp_path))


def test_f01_what_is_no_file_is_refused(tmp_path: Path) -> None:
    _, config = material.save_checkpoint(tmp_path)
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("loop.pt", "pipe.pt"):
        material.refused(lambda name=name: load_model(tmp_path / name, config=config), 3, name, seconds=2)


def test_f01_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, config = material.save_checkpoint(tmp_path)

    def deny(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    material.refused(lambda: load_model(path, config=config), 3, "no permission")


@pytest.fixture(params=["weights.pt", "model.safetensors"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    path, config = material.save_checkpoint(tmp_path, name="weights.pt")
    if request.param == "model.safetensors":
        path = material.save_model(tmp_path / "folder", tokenizer=False) / "model.safetensors"
    return path, config


def test_f04_a_file_cut_at_every_tenth_is_refused(whole: tuple[Path, Path]) -> None:
    path, config = whole
    content = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        material.refused(lambda: load_model(path, config=config), 3, path.name, seconds=2)


def test_f04_a_flipped_bit_is_refused_or_loads(whole: tuple[Path, Path]) -> None:
    path, config = whole
    content, draw = path.read_bytes(), random.Random(0)
    for index in range(FLIPS):
        broken = bytearray(content)
        place = draw.randrange(len(content)) if index % 2 else draw.randrange(min(3000, len(content)))
        broken[place] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        material.unhurt(lambda: load_model(path, config=config))


def test_f04_flipped_bits_of_config_and_tokenizer_are_refused_or_load(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path)
    draw = random.Random(0)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        content = (folder / name).read_bytes()
        for _ in range(30):
            broken = bytearray(content)
            broken[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            (folder / name).write_bytes(broken)
            material.unhurt(lambda: load_model(folder))
        (folder / name).write_bytes(content)


def test_f04_the_pickle_of_an_archive_with_flipped_bits_is_refused_or_loads(tmp_path: Path) -> None:
    """The checksums would hide the unpickler from the flips, so the pickle is packed anew around each."""
    import zipfile

    path, config = material.save_checkpoint(tmp_path)
    with zipfile.ZipFile(path) as archive:
        records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    content, draw = records.pop("data.pkl"), random.Random(0)
    before = torch.serialization.get_safe_globals()
    for _ in range(FLIPS):
        broken = bytearray(content)
        broken[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        material.torch_zip(tmp_path / "x.pt", bytes(broken), {k: v for k, v in records.items() if k != "version"})
        material.unhurt(lambda: load_model(tmp_path / "x.pt", config=config))
    assert torch.serialization.get_safe_globals() == before
