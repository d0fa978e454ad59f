import struct
from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading.gguf_header import read_gguf_header


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(
    settings: list[bytes], tensors: list[bytes], *, version: int = 3, counts: tuple[int, int] | None = None
) -> bytes:
    number = counts or (len(tensors), len(settings))
    return b"GGUF" + struct.pack("<IQQ", version, *number) + b"".join(settings) + b"".join(tensors)


ARCHITECTURE = text("general.architecture") + struct.pack("<I", 8) + text("llama")
WORDS = text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
NUMBERS = text("numbers") + struct.pack("<IIQ", 9, 4, 3) + bytes(12)
TENSOR = text("w") + struct.pack("<IQQIQ", 2, 3, 5, 0, 0)
BLOCKS = text("llama.block_count") + struct.pack("<II", 4, 2)
BLOCK = text("blk.0.w") + struct.pack("<IQIQ", 1, 3, 0, 0)


def read(content: bytes, tmp_path: Path) -> object:
    (tmp_path / "a.gguf").write_bytes(content)
    return read_gguf_header(tmp_path / "a.gguf")


def test_architecture_and_size_are_read(tmp_path: Path) -> None:
    header = read(gguf([WORDS, ARCHITECTURE, NUMBERS], [TENSOR, TENSOR]), tmp_path)
    assert (header.architecture, header.elements) == ("llama", 30)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"GGUF", 3, "truncated"),
        (gguf([], [], version=1), 3, "version 1"),
        (gguf([], [], version=1 << 24), 3, "version"),
        (gguf([], [], counts=(1 << 60, 0)), 4, "100,000"),
        (gguf([], [], counts=(0, 1 << 60)), 4, "100,000"),
        (gguf([text("llama.block_count") + struct.pack("<II", 4, 10**9)], []), 4, "llama.block_count = 1000000000"),
        (gguf([BLOCKS], [BLOCK, TENSOR]), 3, "tell of 2 blocks, its tensors of 1, up to 0"),
        (gguf([], [BLOCK]), 3, "tell of 0 blocks"),
        (gguf([ARCHITECTURE], [], counts=(5, 1)), 3, "truncated"),
        (gguf([struct.pack("<Q", 1 << 60)], []), 3, "truncated"),
        (gguf([text("a") + struct.pack("<I", 77)], []), 3, "unknown type 77"),
        (gguf([text("a") + struct.pack("<IIQ", 9, 4, 1 << 60)], []), 3, "truncated"),
        (gguf([text("a") + struct.pack("<IIQ", 9, 8, 1 << 60)], []), 3, "truncated"),
        (gguf([text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9], []), 3, "unknown type 9"),
        (gguf([], [text("w") + struct.pack("<I", 1 << 20)]), 3, "dimensions"),
        (gguf([], [text("w") + struct.pack("<IQIQ", 1, 3, 0, 1 << 60)]), 3, "truncated"),
        (gguf([text("general.architecture") + struct.pack("<IQ", 8, 1) + b"\xff"], []), 3, "damaged"),
    ],
)
def test_malformed_headers_are_refused(content: bytes, code: int, says: str, tmp_path: Path) -> None:
    material.refused(lambda: read(content, tmp_path), code, says, seconds=1)
