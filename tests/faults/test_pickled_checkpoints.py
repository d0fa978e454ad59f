"""S01-S05, S08, S10-S12, F02: checkpoints that are programs, bombs or broken tensors. Payloads touch a marker only."""

import argparse
import bz2
import gzip
import io
import logging
import os
import pathlib
import pickle
import shutil
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.loading import material

from heedful.loading.loaded_model import load_model

pytestmark = pytest.mark.fault
GADGETS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "open": lambda marker: (open, str(marker), "w"),
    "gzip": lambda marker: (gzip.open, str(marker), "wb"),
    "bz2": lambda marker: (bz2.open, str(marker), "wb"),
    "zipfile": lambda marker: (zipfile.ZipFile, str(marker), "w"),
    "numpy": lambda marker: (np.save, str(marker), 0),
    "mkdir": lambda marker: (os.mkdir, str(marker)),
    "pathlib": lambda marker: (pathlib.Path.touch, pathlib.PurePosixPath(str(marker))),
    "logging": lambda marker: (logging.FileHandler, str(marker)),
    "copyfile": lambda marker: (shutil.copyfile, __file__, str(marker)),
    "eval": lambda marker: (eval, f"open({str(marker)!r}, 'w')"),
}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return material.save_checkpoint(tmp_path)[1]


def _refused(path: Path, config: Path, *says: str, code: int = 3) -> str:
    return material.refused(lambda: load_model(path, config=config), code, path.name, *says)


@pytest.mark.parametrize("forced", [False, True])
def test_s01_a_zip_that_calls_is_refused_by_name(
    forced: bool, marker: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"w": material.Payload(open, str(marker), "w")}, tmp_path / "evil.pt")
    _refused(tmp_path / "evil.pt", config, "io.open", "not run")
    assert not marker.exists()


@pytest.mark.parametrize("gadget", sorted(GADGETS))
def test_s12_gadgets_are_refused_one_by_one(gadget: str, marker: Path, config: Path, tmp_path: Path) -> None:
    payload = material.Payload(*GADGETS[gadget](marker))
    material.torch_zip(tmp_path / "evil.pt", material.pickled({"w": payload}))
    _refused(tmp_path / "evil.pt", config, "asks for")
    (tmp_path / "evil.bin").write_bytes(material.pickled({"w": payload}))
    _refused(tmp_path / "evil.bin", config, "pickle stream")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_s02_raw_pickles_are_refused(protocol: int, marker: Path, config: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(material.pickled(material.Payload(open, str(marker), "w"), protocol))
    _refused(tmp_path / "evil.pt", config)
    assert not marker.exists()


def test_s02_a_legacy_stream_of_torch_that_calls_is_refused(marker: Path, config: Path, tmp_path: Path) -> None:
    content = {"w": torch.ones(1), "x": material.Payload(open, str(marker), "w")}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=False)
    _refused(tmp_path / "evil.pt", config, "io.open", "not run")
    assert not marker.exists()


def test_a_legacy_stream_of_tensors_loads_as_its_archive_does(tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path)
    torch.save(torch.load(path, weights_only=True), tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    old, new = load_model(tmp_path / "old.bin", config=config), load_model(path, config=config)
    assert "old.bin was written by torch before 1.6" in old.notes
    weights = new.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in old.model.state_dict().items())


def test_s03_the_legacy_tar_of_torch_is_refused(marker: Path, config: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.pt", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = material.pickled(material.Payload(open, str(marker), "w"))
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    _refused(tmp_path / "evil.pt", config, "legacy tar")
    assert not marker.exists()


def test_s04_torchscript_is_refused(config: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "script.pt")
    _refused(tmp_path / "script.pt", config, "TorchScript is code")


def test_s05_a_training_checkpoint_is_offered_the_flag_for_its_record(tmp_path: Path) -> None:
    def wrap(state: dict[str, torch.Tensor]) -> dict[str, object]:
        return {"model": state, "args": argparse.Namespace(lr=1e-3), "epoch": 3}

    path, config = material.save_checkpoint(tmp_path, wrap=wrap)
    _refused(path, config, "argparse.Namespace", "pass --allow-global argparse.Namespace")
    loaded = load_model(path, config=config, allow_globals=["argparse.Namespace"])
    assert "weights found under 'model'" in loaded.notes


@pytest.mark.parametrize("name", ["builtins.exec", "os.system", "io.open", "functools.partial", "\x1b[2J"])
def test_s05_dangerous_names_cannot_be_allowed(name: str, tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path)
    material.refused(lambda: load_model(path, config=config, allow_globals=[name]), 2, "--allow-global")


def test_s05_a_record_beside_a_call_is_not_offered(marker: Path, config: Path, tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(), "w": material.Payload(open, str(marker), "w")}, tmp_path / "evil.pt")
    message = _refused(tmp_path / "evil.pt", config, "io.open", "argparse.Namespace")
    assert "--allow-global" not in message
    allowed = ["argparse.Namespace"]
    material.refused(lambda: load_model(tmp_path / "evil.pt", config=config, allow_globals=allowed), 3, "io.open")
    assert not marker.exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_s08_records_that_inflate_are_refused(method: int, config: Path, tmp_path: Path) -> None:
    bomb = {"data/0": bytes(64 << 20)}
    material.torch_zip(tmp_path / "bomb.pt", material.pickled({}), bomb, method)
    _refused(tmp_path / "bomb.pt", config, "times the file's size")


def test_s08_a_little_compression_is_refused_too(config: Path, tmp_path: Path) -> None:
    material.torch_zip(tmp_path / "x.pt", material.pickled({}), method=zipfile.ZIP_DEFLATED)
    _refused(tmp_path / "x.pt", config, "compressed")


def test_s08_truncated_and_empty_files_say_so(tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _refused(path, config, "truncated")
    path.write_bytes(b"")
    _refused(path, config, "empty", "truncated checkpoint")


def test_s08_a_flipped_bit_in_tensor_data_is_found(tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path)
    content = bytearray(path.read_bytes())
    needle = material.make_model().transformer.wpe.weight.detach().numpy().tobytes()[:64]
    content[content.index(needle) + 5] ^= 1
    path.write_bytes(content)
    _refused(path, config, "checksum", "damaged checkpoint")


class _Rebuilt:
    """Pickles into any call of torch's own rebuild functions."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self.call[0], tuple(self.call[1:])


@pytest.mark.filterwarnings("ignore")
def test_s10_a_sparse_tensor_that_points_outside_is_refused(config: Path, tmp_path: Path) -> None:
    parts = (torch.tensor([[0, 10], [0, 10]]), torch.ones(2), torch.Size([3, 3]), False)
    sparse = _Rebuilt(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, parts)
    torch.save({"w": sparse}, tmp_path / "sparse.pt")
    _refused(tmp_path / "sparse.pt", config)


@pytest.mark.filterwarnings("ignore")
def test_s10_a_sound_sparse_tensor_is_refused_by_name(config: Path, tmp_path: Path) -> None:
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    _refused(tmp_path / "sparse.pt", config, "sparse")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (1 << 40,), (1,)), (1 << 40, (4,), (1,)), (-1, (4,), (1,)), (0, (1 << 31, 1 << 31), (1 << 31, 1))],
)
def test_s11_tensors_beyond_their_storage_are_refused(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], config: Path, tmp_path: Path
) -> None:
    storage = torch.ones(4).storage()
    tensor = _Rebuilt(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})
    torch.save({"w": tensor}, tmp_path / "big.pt")
    _refused(tmp_path / "big.pt", config)


@pytest.mark.filterwarnings("ignore")
def test_s11_a_tensor_that_repeats_its_storage_is_refused(config: Path, tmp_path: Path) -> None:
    tensor = _Rebuilt(torch._utils._rebuild_tensor_v2, torch.ones(4).storage(), 0, (1 << 40,), (0,), False, {})
    torch.save({"w": tensor}, tmp_path / "big.pt")
    _refused(tmp_path / "big.pt", config, "several times over")


def test_a_huge_bytearray_is_refused(config: Path, tmp_path: Path) -> None:
    content = pickle.dumps({}, 2)[:-1] + b"0cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR."
    material.torch_zip(tmp_path / "big.pt", content)
    material.refused(lambda: load_model(tmp_path / "big.pt", config=config), 3, "big.pt", seconds=5)


def test_a_pickle_nested_without_end_is_refused(config: Path, tmp_path: Path) -> None:
    material.torch_zip(tmp_path / "deep.pt", b"\x80\x02" + b"(" * 200_000 + b"l" * 200_000 + b".")
    _refused(tmp_path / "deep.pt", config)
