import io
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.loading import material

from heedful.loading.checkpoint_format import CheckpointFormat, checkpoint_format


def test_formats_are_told_by_content_and_not_by_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "named.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "named.safetensors")
    (tmp_path / "named.bin").write_bytes(b"GGUF" + bytes(40))
    assert checkpoint_format(tmp_path / "named.pt") is CheckpointFormat.SAFETENSORS
    assert checkpoint_format(tmp_path / "named.safetensors") is CheckpointFormat.ZIP
    assert checkpoint_format(tmp_path / "named.bin") is CheckpointFormat.GGUF


def _tar(form: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return stream.getvalue()


def _v7_tar() -> bytes:
    head = bytearray(_tar(tarfile.USTAR_FORMAT)[:512])
    head[257:265] = bytes(8)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (material.pickled({"a": 1}, 2), "pickle"),
        (material.pickled({"a": 1}, 5), "pickle"),
        (_tar(tarfile.USTAR_FORMAT), "legacy tar"),
        (_tar(tarfile.GNU_FORMAT), "legacy tar"),
        (_v7_tar(), "legacy tar"),
        (b"\x1f\x8b" + bytes(50), "compressed"),
        (b"<!DOCTYPE html><html></html>" * 30, "begins with 3c 21"),
        (bytes(600), "no checkpoint"),
    ],
)
def test_other_content_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    material.refused(lambda: checkpoint_format(tmp_path / "x.pt"), 3, says)
