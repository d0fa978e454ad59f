"""Read a text file once to compute its checksum and check that it is text."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heedful.errors import InputRejected
from heedful.loading.corpus import TextFile
from heedful.loading.documents import check_plain
from heedful.loading.regular_file import kind_of, open_regular
from heedful.loading.wording import escaped

_CHUNK = 1 << 20
_REPLACEMENT = "\ufffd"
_BINARY_SHARE = 0.1
_MARK = codecs.BOM_UTF8


@dataclass(frozen=True)
class SurveyedText:
    """Path, size, checksum and modification time of a text file, and whether it is blank, gathered in one pass.

    Attributes:
        path: Where it stands.
        facts: Its name, size and checksum.
        begin: Bytes before its text: those of a byte-order mark.
        blank: Whether nothing but blanks stands in it.
        notes: What was odd about it.
        stamp: Time of its last change, in nanoseconds.
    """

    path: Path
    facts: TextFile
    begin: int
    blank: bool
    notes: tuple[str, ...]
    stamp: int

    def check_unchanged(self) -> None:
        """Raise an error if the file changed since it was surveyed.

        Raises:
            InputRejected: It was.
        """
        try:
            now = os.stat(self.path)
        except OSError as error:
            raise InputRejected(escaped(self.path), "was removed while it was read", "try again") from error
        if (now.st_size, now.st_mtime_ns) != (self.facts.bytes, self.stamp):
            raise InputRejected(escaped(self.path), "was changed while it was read", "try again")


def survey(path: Path, read: Callable[[int], None] = lambda _bytes: None) -> SurveyedText:
    """Read a text file once, in constant memory, check that it is text, and return its size, checksum and notes.

    Args:
        path: The file.
        read: Called with the number of bytes just read, now and then.

    Returns:
        What is known of it.

    Raises:
        UsageError: Nothing stands there.
        InputRejected: It is no regular file, compressed, in another encoding, or more than a tenth of it is no text.
    """
    shown = escaped(path)
    if kind_of(path) == "a directory":
        raise InputRejected(shown, "expected a text file, found a directory", "name its files, as in DIR/*.txt")
    decode = codecs.getincrementaldecoder("utf-8")("replace")
    digest = hashlib.sha256()
    size = bad = zeros = length = begin = 0
    blank = True
    with open_regular(path) as file:
        stamp = os.fstat(file.fileno()).st_mtime_ns
        while chunk := file.read(_CHUNK):
            if not size:
                check_plain(chunk, shown)
                begin = len(_MARK) if chunk.startswith(_MARK) else 0
            digest.update(chunk)
            size += len(chunk)
            read(len(chunk))
            text = decode.decode(chunk)
            length += len(text)
            zeros += chunk.count(b"\0")
            bad += text.count(_REPLACEMENT) - chunk.count(_REPLACEMENT.encode())
            blank = blank and not text.removeprefix("\ufeff").strip("\0").strip()
    bad = max(0, bad + len(decode.decode(b"", final=True)))
    if bad + zeros > _BINARY_SHARE * max(length, 1) and not blank:
        raise InputRejected(shown, f"{bad + zeros:,} of {length:,} characters are no text", "give plain text")
    notes = [f"{shown}: {bad:,} bytes that are no UTF-8 were replaced"] if bad else []
    notes += [f"{shown}: {zeros:,} NUL characters"] if zeros else []
    facts = TextFile(escaped(path.name), size, digest.hexdigest())
    return SurveyedText(path, facts, begin, blank, tuple(notes), stamp)
