"""Open untrusted files only if they are regular files, and read no further than requested."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from heedful.errors import InputRejected, ResourceLimit, UsageError
from heedful.loading.wording import escaped

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(path: Path) -> str:
    """Describe the kind of a path: ``a regular file``, ``a directory``, ``a named pipe``.

    Args:
        path: Any path; symbolic links are followed.

    Returns:
        The kind, with its article.

    Raises:
        UsageError: Nothing stands there.
        InputRejected: The path cannot be followed or looked at.
    """
    shown = escaped(path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):
            raise InputRejected(shown, "a symbolic link to nothing", "repair the link or name its target") from error
        raise UsageError(f"{shown}: expected a file or folder, found none (check the path)") from error
    except OSError as error:
        raise _refusal(shown, error) from error
    except ValueError as error:
        raise UsageError(f"{shown}: not a path ({escaped(error)})") from error
    if stat.S_ISREG(mode):
        return "a regular file"
    return next((words for test, words in _KINDS if test(mode)), "no regular file")


@contextmanager
def open_regular(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Return a context with a regular file opened for reading; pipes, devices and sockets raise at once.

    Args:
        path: The file.
        follow: Whether it may be a symbolic link: those of a model's cache are; a folder of heedful's own holds none.

    Yields:
        The open file.

    Raises:
        UsageError: Nothing stands there.
        InputRejected: It is no regular file, or it cannot be read.
    """
    shown = escaped(path)
    kind = kind_of(path)
    if kind != "a regular file":
        raise InputRejected(shown, f"expected a regular file, found {kind}", "name a file")
    stay = 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    if not follow and path.is_symlink():
        raise InputRejected(shown, "a symbolic link; files of this folder lie in it", "copy the file there")
    try:
        descriptor = os.open(path, os.O_RDONLY | stay | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise _refusal(shown, error) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputRejected(shown, "changed from a regular file while it was opened", "try again")
        yield file


def read_small(path: Path, limit: int, what: str, *, follow: bool = True) -> bytes:
    """Read all bytes of a file, or raise an error if there are more than ``limit``.

    Args:
        path: The file.
        limit: Bytes it may have at most.
        what: What the file is meant to be, for the message.
        follow: Whether it may be a symbolic link.

    Returns:
        The bytes.

    Raises:
        ResourceLimit: The file is larger than ``limit``.
    """
    with open_regular(path, follow=follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ResourceLimit(f"{escaped(path)}: expected {what} of at most {limit:,} bytes, found more")
    return content


def _refusal(shown: str, error: OSError) -> InputRejected:
    if error.errno == errno.ELOOP:
        return InputRejected(shown, "a loop of symbolic links", "name the file itself")
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputRejected(shown, "no permission to read", "change its permissions")
    return InputRejected(shown, f"cannot be read: {escaped(error.strerror or error)}", "check the path")
