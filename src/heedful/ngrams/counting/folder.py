"""Folder of counts: files are written atomically and verified by checksum."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heedful.errors import InputRejected, OutputError
from heedful.loading.memory import ensure_fits
from heedful.loading.regular_file import read_small
from heedful.loading.wording import escaped
from heedful.reporting.write import filled_folder, write_atomic

MANIFEST = "counts.json"
SHARDS = "shards"
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def checked_bytes(path: Path, size: int, sha256: str) -> bytes:
    """Read a file and verify its size and checksum.

    Args:
        path: The file.
        size: Bytes it had.
        sha256: Its checksum.

    Returns:
        The bytes, read once, so that none can change between the check and the use.

    Raises:
        InputRejected: It is a link, missing, shorter or longer, or other bytes stand in it.
        ResourceLimit: It would not fit in memory.
    """
    fix = "count the text again, or copy the folder again"
    ensure_fits(2 * size, f"reading {escaped(path)}")
    content = read_small(path, size, "a file of counts", follow=False)
    if len(content) != size:
        raise InputRejected(str(path), f"expected {size:,} bytes, found {len(content):,}: the file was cut", fix)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputRejected(str(path), "its checksum is not that of the manifest: the file was changed", fix)
    return content


def put(path: Path, content: bytes) -> None:
    """Write bytes atomically, through a temporary file.

    Raises:
        OutputError: They could not be written.
    """
    write_atomic(path, content, overwrite=True)


@contextmanager
def shard_folder(out: Path, number: int) -> Iterator[Path]:
    """Return a context with a temporary folder that becomes the shard's folder if the block succeeds.

    Args:
        out: The folder of counts.
        number: The shard.

    Yields:
        The folder to fill.
    """
    place = place_of(out, number)
    with as_output_error(place):
        place.parent.mkdir(exist_ok=True)
        with filled_folder(place, overwrite=True) as beside:
            yield beside


def place_of(out: Path, number: int) -> Path:
    """Return the path of a shard's folder."""
    return out / SHARDS / f"{number:06d}"


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Return a context that converts an ``OSError`` from writing to a one-line ``OutputError``."""
    try:
        yield
    except OSError as error:
        fix = "free some space" if error.errno in _FULL else "name another folder"
        raise OutputError(f"{path}: {error.strerror or error} ({fix})") from error
