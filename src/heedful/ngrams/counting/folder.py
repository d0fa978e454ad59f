"""The folder of counts: what stands in it, written whole or not at all, and believed by checksum."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heedful.errors import InputRejected, OutputError
from heedful.loading.memory import ensure_fits
from heedful.loading.regular_file import read_small
from heedful.loading.wording import escaped

MANIFEST = "counts.json"
SHARDS = "shards"
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_sum(path: Path, size: int, sha256: str) -> None:
    """Refuse a file that is not what was written.

    Args:
        path: The file.
        size: Bytes it had.
        sha256: Its checksum.

    Raises:
        InputRejected: It is missing, shorter or longer, or other bytes stand in it.
    """
    fix = "count the text again, or copy the folder again"
    try:
        found = path.stat().st_size
        if found != size:
            raise InputRejected(
                str(path), f"expected {size:,} bytes, found {found:,}: the file was cut or changed", fix
            )
        if sha256_of(path) != sha256:
            raise InputRejected(str(path), "its checksum is not that of the manifest: the file was changed", fix)
    except OSError as error:
        raise InputRejected(str(path), f"cannot be read: {error.strerror}", fix) from error


def checked_bytes(path: Path, size: int, sha256: str) -> bytes:
    """The content of a file, once it is what was written.

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
    """Bytes at a path, written beside it first: a reader finds all of them or what stood there before.

    Raises:
        OutputError: They could not be written.
    """
    beside = path.with_name(f".{path.name}.part")
    with as_output_error(path):
        try:
            with open(beside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


@contextmanager
def shard_folder(out: Path, number: int) -> Iterator[Path]:
    """A folder to fill with one shard; it takes its place when the block ends without an exception.

    Args:
        out: The folder of counts.
        number: The shard.

    Yields:
        The folder to fill.
    """
    place = place_of(out, number)
    beside = place.with_name(f".{place.name}.part")
    with as_output_error(place):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            shutil.rmtree(place, ignore_errors=True)
            os.replace(beside, place)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def place_of(out: Path, number: int) -> Path:
    """The folder of one shard."""
    return out / SHARDS / f"{number:06d}"


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn what the system says about writing into one line."""
    try:
        yield
    except OSError as error:
        fix = "free some space" if error.errno in _FULL else "name another folder"
        raise OutputError(f"{path}: {error.strerror or error} ({fix})") from error
