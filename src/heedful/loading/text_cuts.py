"""Find where a text file may be split: between documents, or between characters, preferably between lines."""

from __future__ import annotations

import re
from typing import BinaryIO

from heedful.errors import ResourceLimit

SEPARATORS = {"file": None, "jsonl": rb"\n", "line": rb"\r?\n", "paragraph": rb"\r?\n(?:\r?\n)+"}
"""What makes a document, and the pattern of what stands between two in a file."""

_ENDS = {"jsonl": re.compile(rb"\n"), "line": re.compile(rb"\n"), "paragraph": re.compile(rb"\n\r?\n(?=[^\r\n])")}
"""Behind which a document begins: of several empty lines the last, so that a cut divides no separator."""

_LONGEST_END = 3

LONGEST_DOCUMENT = 64 << 20
"""Bytes of one line or paragraph that is a document of its own; a file that is a document has no such limit."""

_REACH = 1 << 12
_CHUNK = 1 << 16


def cut_after(file: BinaryIO, target: int, stop: int, documents: str, shown: str) -> int:
    """Return the first position from ``target`` on where the file may be split.

    Args:
        file: The file.
        target: Byte from which to look.
        stop: Where the text ends.
        documents: What makes a document, a key of `SEPARATORS`.
        shown: The file's name in messages.

    Returns:
        A byte offset, at most ``stop``; no character and no line end is divided there, and no document but one that
        is a whole file.

    Raises:
        ResourceLimit: A line or paragraph is longer than `LONGEST_DOCUMENT`.
    """
    if target >= stop:
        return stop
    if documents == "file":
        return _between_characters(file, target, stop)
    place = max(0, target - _LONGEST_END)
    file.seek(place)
    held = b""
    while place + len(held) < min(stop, target + LONGEST_DOCUMENT) and (chunk := file.read(_CHUNK)):
        held += chunk
        for found in _ENDS[documents].finditer(held):
            if place + found.end() >= target:
                return min(stop, place + found.end())
        place += max(0, len(held) - _LONGEST_END)
        held = held[-_LONGEST_END:]
    if place + len(held) < stop:
        raise ResourceLimit(f"{shown}: expected documents of at most {LONGEST_DOCUMENT:,} bytes, found a longer one")
    return stop


def _between_characters(file: BinaryIO, target: int, stop: int) -> int:
    file.seek(target)
    head = file.read(_REACH)
    found = head.find(b"\n")
    if found >= 0:
        return min(stop, target + found + 1)
    for offset, byte in enumerate(head):
        if byte & 0xC0 != 0x80:  # no continuation of a character, and no line end can stand here
            return min(stop, target + offset)
    return min(stop, target)


def character_before(file: BinaryIO, target: int, begin: int) -> int:
    """Return the last position from ``begin`` to ``target`` at which a character starts."""
    low = max(begin, target - 4)
    file.seek(low)
    head = file.read(target - low + 1)
    for offset in range(target - low, -1, -1):
        if offset >= len(head) or (head[offset] & 0xC0 != 0x80 and head[offset] != 0x0A):
            return low + offset
    return max(begin, target)
