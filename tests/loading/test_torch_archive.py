import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.loading import material

from heedful.loading.torch_archive import check_dense, read_torch_archive, read_torch_stream


def test_a_state_dict_comes_back(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3.0), "step": 7}, tmp_path / "a.pt")
    saved = read_torch_archive(tmp_path / "a.pt")
    assert saved["a"].tolist() == [0, 1, 2] and saved["step"] == 7


def test_a_harmless_record_can_be_allowed_by_name_for_one_call(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "args": argparse.Namespace(x=1)}, tmp_path / "a.pt")
    before = list(torch.serialization.get_safe_globals())
    assert read_torch_archive(tmp_path / "a.pt", ["argparse.Namespace"])["args"].x == 1
    assert torch.serialization.get_safe_globals() == before
    material.refused(lambda: read_torch_archive(tmp_path / "a.pt"), 3, "pass --allow-global argparse.Namespace")


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "io.open", "argparse.ArgumentParser", ""])
def test_nothing_else_can_be_allowed(name: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    material.refused(lambda: read_torch_archive(tmp_path / "a.pt", [name]), 2, "--allow-global")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.writestr("archive/data.pkl", b"again"), "did not write"),
        (lambda a: a.writestr("archive/constants.pkl", b""), "TorchScript is code"),
        (lambda a: a.writestr("archive/code/__torch__.py", b""), "TorchScript is code"),
        (lambda a: a.writestr("archive/more", bytes(9), zipfile.ZIP_DEFLATED), "compressed"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_torch_does_not_write_are_refused(change: object, says: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        change(archive)  # type: ignore[operator]
    material.refused(lambda: read_torch_archive(tmp_path / "a.pt"), 3, says)


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", b"hello")
    material.refused(lambda: read_torch_archive(tmp_path / "a.pt"), 3, "did not write")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: 7, "expected a tensor under k, found int"),
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.eye(3).to_sparse_csr(), "sparse"),
        (lambda: torch.empty(3, device="meta"), "without data"),
        (lambda: torch.ones(1).expand(1 << 40), "several times"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8), "quantised"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_dense_are_refused(make: Callable[[], object], says: str) -> None:
    material.refused(lambda: check_dense("k", make(), "f"), 3, says)


def test_views_of_one_storage_are_dense() -> None:
    check_dense("k", torch.ones(4, 4).T, "f")
    check_dense("k", torch.ones(4, 4)[1], "f")
    check_dense("k", torch.nn.Parameter(torch.ones(0)), "f")


def _stream(saved: object, path: Path) -> Path:
    torch.save(saved, path, _use_new_zipfile_serialization=False)
    return path


def test_a_stream_of_before_torch_1_6_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    path = _stream({"model": {"a": shared[:2], "b": shared[2:]}, "step": 7}, tmp_path / "a.bin")
    saved = read_torch_stream(path)
    assert (
        saved["model"]["a"].tolist() == [0, 1] and saved["model"]["b"].tolist() == [2, 3, 4, 5] and saved["step"] == 7
    )


def test_a_harmless_record_in_a_stream_can_be_allowed(tmp_path: Path) -> None:
    path = _stream({"a": torch.ones(1), "args": argparse.Namespace(x=1)}, tmp_path / "a.bin")
    material.refused(lambda: read_torch_stream(path), 3, "pass --allow-global argparse.Namespace")
    assert read_torch_stream(path, ["argparse.Namespace"])["args"].x == 1


def test_a_stream_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = _stream({"a": torch.ones(3000)}, tmp_path / "a.bin")
    path.write_bytes(path.read_bytes()[:-100])
    material.refused(lambda: read_torch_stream(path), 3, "a.bin", "unexpected EOF")


def test_a_stream_whose_storages_are_left_out_is_refused(tmp_path: Path) -> None:
    """Its tensors would show whatever stood in memory."""
    path = _stream({"a": torch.ones(300_000)}, tmp_path / "a.bin")
    content = path.read_bytes()
    keys = content.rindex(b"\x80\x02]q\x00")
    path.write_bytes(content[:keys] + b"\x80\x02].")
    material.refused(lambda: read_torch_stream(path), 3, "more data than the file has")
