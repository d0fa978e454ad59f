"""Write files and folders atomically, under random temporary names, never through symbolic links.

What is written stands beside its place under a random name first, created where nothing may stand, is flushed to the
disk, and then moved there in one step. `tests/conformance/test_one_way_to_write.py` holds that nothing of heedful opens
a file for writing in another way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from heedful.errors import OutputError

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_APPENDED = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BESIDE = re.compile(r"\.heedful-(\d+)-[0-9a-f]{16}\.tmp")
_OWN_HEAD = 128
_OWN_HEADS = (
    b'{"schema":"heedful.',
    b"<!--heedful.",
    b"<!doctypehtml><!--heedful.",
    b"<?xmlversion='1.0'encoding='utf-8'?><testsuitesname=\"heedful",
)
"""How files begin that heedful wrote, without their blanks."""
_READ_AGAIN = tuple(
    f'{{"schema":"heedful.{kind}/'.encode() for kind in ("counts", "derivation", "measures", "sweep-plan")
)
"""The same of records that its other commands read: to lose one is to lose a folder of counts, a model's or a run's."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomic(path: str | os.PathLike[str], data: bytes | str, *, overwrite: bool) -> None:
    """Write data to a path in one step; on failure the existing file stays unchanged.

    Args:
        path: A regular file, or nothing yet; a link, a device or a folder is refused.
        data: What to write; a string as UTF-8.
        overwrite: Whether a file that stands there may be replaced.

    Raises:
        OutputError: It could not be written; the old file is whole and no temporary file is left.
    """
    place = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    check_target(path, overwrite=overwrite)
    temporary = _temporary_path(place)
    try:
        mode = _final_mode(place)
        descriptor = os.open(temporary, _NEW_FILE, 0o600)
        try:
            _fill(descriptor, content, mode)
            os.replace(temporary, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise _failure(place, error, len(content)) from error
    _settle(place.parent)


@contextmanager
def private_folder(inside: Path) -> Iterator[Path]:
    """Return a context with a new folder inside ``inside`` that only this user can access; it is removed when the
    context ends.

    Args:
        inside: The folder in which it is made, so that what is written can be moved to its place in one step.

    Yields:
        The folder.

    Raises:
        OSError: It cannot be made.
    """
    temporary = _temporary_path(inside / "folder")
    os.mkdir(temporary, 0o700)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def filled_folder(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Return a context with a temporary folder that moves to ``path`` on success and is removed after an exception.

    Args:
        path: Where: nothing, or an empty folder; a link is refused.
        overwrite: Whether a folder that stands there is removed first, with what is in it.

    Yields:
        The folder to fill.

    Raises:
        OutputError: The place is a link.
        OSError: It could not be written.
    """
    place = Path(path)
    if place.is_symlink():
        raise _refusal(os.fspath(path), "is a symbolic link; its target was not touched", "name the folder itself")
    with private_folder(place.parent) as temporary:
        yield temporary
        umask = os.umask(0o077)
        os.umask(umask)
        os.chmod(temporary, 0o777 & ~umask)
        if overwrite and place.is_dir():
            shutil.rmtree(place)
        os.replace(temporary, place)
    _settle(place.parent)


def move_in(path: Path, folder: Path) -> None:
    """Move a file from a ``private_folder`` to its final path in one step; an existing link is replaced."""
    os.replace(path, folder / path.name)


def create_new(path: Path, text: str) -> None:
    """Create a small file; raise an error if the path or a link exists, so that only one of several processes succeeds.

    Raises:
        FileExistsError: Something stands there.
        OSError: It could not be written.
    """
    with os.fdopen(os.open(path, _NEW_FILE, 0o666), "wb") as file:
        file.write(text.encode("utf-8"))


def open_log(path: Path) -> BinaryIO:
    """Open a file for appending lines; a symbolic link raises an error.

    Raises:
        OSError: It cannot be opened, or is a link.
    """
    return os.fdopen(os.open(path, _APPENDED, 0o666), "ab")


def refuse_links(folder: Path) -> None:
    """Raise an error if a folder contains symbolic links, which could redirect writes.

    Args:
        folder: A folder of heedful's own, a run's, a sweep's, or one of counts; itself it may be a link.

    Raises:
        InputRejected: A link is in it, at any depth.
    """
    from heedful.errors import InputRejected

    for place, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            if os.path.islink(path):
                message = "a symbolic link in a folder that heedful writes to; nothing was written"
                raise InputRejected(ascii(path)[1:-1], message, "remove it, or copy its target there")


def remove_stale(folder: Path) -> None:
    """Remove temporary files that a killed process left behind."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            found = _BESIDE.fullmatch(path.name)
            if found is None or _lives(int(found[1])):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return process != os.getpid()


def _temporary_path(place: Path) -> Path:
    return place.parent / f".heedful-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise an error before any work if ``path`` cannot be written.

    Args:
        path: Where a file shall be written.
        overwrite: Whether a file that stands there may be replaced.

    Raises:
        OutputError: The path is a link, a folder or a device; its folder is missing or read-only; or a file stands
            there and must not be replaced.
    """
    place, text = Path(path), os.fspath(path)
    try:
        if not os.path.isdir(place.parent):
            raise _refusal(text, f"the folder {place.parent} does not exist", "create it first")
        if not os.access(place.parent, os.W_OK | os.X_OK):
            raise _refusal(text, f"the folder {place.parent} cannot be written", "choose another path")
        found = place.lstat()
    except FileNotFoundError:
        if text.endswith(os.sep) or not place.name:
            raise _refusal(text, "expected the path of a file, got a folder", "add a file name") from None
        return
    except (OSError, ValueError) as error:
        raise _refusal(text, getattr(error, "strerror", None) or str(error), "choose another path") from None
    _refuse_standing(text, found.st_mode, overwrite)


def _refuse_standing(text: str, mode: int, overwrite: bool) -> None:
    if stat.S_ISLNK(mode):
        raise _refusal(text, "is a symbolic link; its target was not touched", "name the file itself")
    if stat.S_ISDIR(mode):
        raise _refusal(text, "is a folder", "add a file name")
    if not stat.S_ISREG(mode):
        raise _refusal(text, "is no regular file", "name a file, or use - for standard output")
    if not overwrite:
        raise _refusal(text, "a file already exists there and was kept", "give --force to replace it")


def _refusal(text: str, what: str, fix: str) -> OutputError:
    from heedful.errors import OutputError

    return OutputError(f"{text}: {what} ({fix})")


def _fill(descriptor: int, content: bytes, mode: int) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _final_mode(place: Path) -> int:
    try:
        return stat.S_IMODE(place.lstat().st_mode)
    except FileNotFoundError:
        umask = os.umask(0o077)
        os.umask(umask)
        return 0o666 & ~umask


def _failure(place: Path, error: OSError, needed: int) -> OutputError:
    if error.errno not in _FULL:
        return _refusal(str(place), error.strerror or str(error), "choose another path")
    try:
        free = f"{shutil.disk_usage(place.parent).free:,}"
    except OSError:
        free = "an unknown number of"
    return _refusal(str(place), f"no space left: {needed:,} bytes are needed, {free} are free", "free some space")


def is_own(path: str | os.PathLike[str]) -> bool:
    """Return whether the path is a regular file that is empty or starts like a heedful report.

    Records beside counts, models and runs, which other commands read, are none.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with open(path, "rb") as file:
            head = b"".join(file.read(_OWN_HEAD).split())
    except (OSError, ValueError):
        return False
    return not head or (head.startswith(_OWN_HEADS) and not head.startswith(_READ_AGAIN))


def _settle(folder: Path) -> None:
    """Make the move itself durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
