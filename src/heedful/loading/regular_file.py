"""Open untrusted files only if they are regular files, and read no further than requested.

Parse untrusted JSON strictly: no duplicate keys, no NaN or infinity, limited depth.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from heedful.errors import InputRejected, ResourceLimit, UsageError
from heedful.loading.wording import escaped, reason

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


CONFIG_BYTES = 1 << 20
"""Size of a config; the largest that transformers ships are a few dozen kilobytes."""

DEEPEST = 64
"""Levels of nesting that a config may have."""


MOST_VALUES = 4_000_000
"""Commas and brackets of one document, those in its text too: empty lists take thirty times their bytes in memory."""


class _Refused(ValueError):
    """A construct that the JSON grammar or Python's reader would let pass."""


def parse_json(content: bytes | str, subject: str) -> Any:
    """Parse one JSON document strictly.

    Args:
        content: The document, UTF-8 where it is bytes.
        subject: Its name in messages.

    Returns:
        Dictionaries, lists, strings, finite numbers, booleans and None.

    Raises:
        InputRejected: It is not JSON, or it holds duplicate keys, non-finite numbers or too deep nesting.
        ResourceLimit: It holds more values than any file of ours or of a model.
    """
    if isinstance(content, bytes):
        found = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    else:
        found = sum(content.count(mark) for mark in (",", "[", "{"))
    if found > MOST_VALUES:
        raise ResourceLimit(f"{subject}: expected at most {MOST_VALUES:,} values, found {found:,}")
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        tree = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except RecursionError as error:
        raise InputRejected(subject, f"nested deeper than {DEEPEST} levels", "flatten it") from error
    except ValueError as error:
        raise InputRejected(subject, f"expected JSON: {reason(error)}", "repair the file") from error
    return plain_tree(tree, subject)


def read_json(path: Path, limit: int = CONFIG_BYTES) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Args:
        path: The file.
        limit: Bytes it may have at most.

    Returns:
        The object.

    Raises:
        InputRejected: It is not strict JSON, or not an object.
    """
    tree = parse_json(read_small(path, limit, "a JSON file"), escaped(path))
    if not isinstance(tree, dict):
        raise InputRejected(escaped(path), f"expected a JSON object, found {type(tree).__name__}", "repair the file")
    return tree


def plain_tree(tree: Any, subject: str) -> Any:
    """Return the tree unchanged if it holds only JSON values, else raise an error.

    Args:
        tree: Nested dictionaries and lists from any reader.
        subject: Its name in messages.

    Returns:
        ``tree``.

    Raises:
        InputRejected: A node has another type, a key is no string, a number is not finite, or it is too deep.
    """
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, dict | list):
            if depth > DEEPEST:
                raise InputRejected(subject, f"nested deeper than {DEEPEST} levels", "flatten it")
            if isinstance(node, dict) and not all(isinstance(key, str) for key in node):
                raise InputRejected(subject, "a key is not a string", "quote it")
            waiting += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]
        elif isinstance(node, float) and not math.isfinite(node):
            raise InputRejected(subject, f"the number {node} is not finite", "write a finite number")
        elif not isinstance(node, str | int | float | bool | None):
            raise InputRejected(subject, f"a value of type {type(node).__name__}", "use text, numbers, lists, tables")
    return tree


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"the key {escaped(twice, 60)!r} stands twice")
    return table


def _no_constant(word: str) -> None:
    raise _Refused(f"{word} is not a JSON number")
