"""Read text of any size in independent shards, split only between documents or characters.

Find where a text file may be split: between documents, or between characters, preferably between lines.

Read a text file once to compute its checksum and check that it is text.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from heedful.errors import InputRejected, ResourceLimit, UsageError
from heedful.loading.corpus import Piece, TextFile
from heedful.loading.documents import check_plain, line_document
from heedful.loading.regular_file import kind_of, open_regular
from heedful.loading.wording import escaped

DocumentRule = Literal["auto", "line", "paragraph"]
SHARD_BYTES = 8 << 20
"""Text in a shard: what bounds memory, and what a stop may lose."""

_PIECE = 1 << 17
_AROUND = 1 << 12
"""Bytes or characters read before and behind a piece, so that its tokens are those of the whole document."""


@dataclass(frozen=True)
class Stretch:
    """Byte range of one file that belongs to one shard."""

    text: SurveyedText
    start: int
    stop: int
    documents: str


class TextCorpus:
    r"""Text files as a corpus: documents in shards of about ``shard_bytes`` bytes.

    A shard is read alone and gives the same pieces each time. Documents that fit into a piece are read whole; a longer
    one is read in pieces, each with text of the same document around it, so that tokens at its borders are those of
    the whole: exactly so for every tokenizer whose tokens depend on fewer than 4,096 characters before them.

    Args:
        paths: The files; a ``.jsonl`` file holds a document on each line.
        documents: What makes a document of other files: ``auto``, the file; ``line``, each line; ``paragraph``, what
            stands between empty lines.
        shard_bytes: Bytes of text in a shard.
        read: Called with the number of bytes just read, while the files are read for their checksums.

    Raises:
        UsageError: There is no path, a file is missing, or the rule is unknown.
        InputRejected: A file is no plain text, or all are blank.
        ResourceLimit: A line or paragraph that is a document is longer than 64 MiB.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        documents: DocumentRule = "auto",
        shard_bytes: int = SHARD_BYTES,
        read: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        if not paths:
            raise UsageError("expected text files, got an empty list (name a .txt or .jsonl file)")
        if documents not in ("auto", "line", "paragraph"):
            raise UsageError(f"--documents {documents}: expected auto, line or paragraph")
        if shard_bytes < 1:
            raise UsageError(f"--shard-bytes {shard_bytes}: expected a whole number from 1 up")
        self.documents: str = documents
        self.texts = [survey(Path(path), read) for path in paths]
        if all(text.blank for text in self.texts):
            shown = ", ".join(text.facts.name for text in self.texts[:3])
            raise InputRejected(shown, "expected text, found nothing but blanks", "give files that hold text")
        self.shards = list(_planned(self.texts, documents, shard_bytes))
        blank = sum(text.blank for text in self.texts)
        self.notes = [note for text in self.texts for note in text.notes]
        self.notes += [f"{blank} blank files left out"] if blank else []

    @property
    def files(self) -> Sequence[TextFile]:
        """Text files, in shard order."""
        return [text.facts for text in self.texts]

    @property
    def shard_bytes(self) -> Sequence[int]:
        """Number of text bytes in each shard."""
        return [sum(part.stop - part.start for part in shard) for shard in self.shards]

    def pieces(self, shard: int) -> Iterator[Piece]:
        """Yield the pieces of one shard, in text order.

        Args:
            shard: Its number.

        Yields:
            The pieces.

        Raises:
            InputRejected: A file was changed since the corpus was made, or a line is no document.
        """
        for part in self.shards[shard]:
            part.text.check_unchanged()
            with open_regular(part.text.path) as file:
                yield from _long_document(file, part) if part.documents == "file" else _short_documents(file, part)
            part.text.check_unchanged()

    def strings(self) -> Iterator[str]:
        """Yield all text once, in pieces suitable for training a tokenizer."""
        for shard in range(len(self.shards)):
            for piece in self.pieces(shard):
                yield piece.text[piece.first : piece.last]


def _planned(texts: Sequence[SurveyedText], documents: str, size: int) -> Iterator[list[Stretch]]:
    shard: list[Stretch] = []
    room = size
    for text in texts:
        if text.blank:
            continue
        lines = text.path.suffix.lower() in (".jsonl", ".ndjson")
        rule = "jsonl" if lines else "file" if documents == "auto" else documents
        start, end = text.begin, text.facts.bytes
        with open_regular(text.path) as file:
            while start < end:
                stop = cut_after(file, start + room, end, rule, escaped(text.path))
                shard.append(Stretch(text, start, stop, rule))
                room -= stop - start
                start = stop
                if room <= 0:
                    yield shard
                    shard, room = [], size
    if shard:
        yield shard


def _short_documents(file: BinaryIO, part: Stretch) -> Iterator[Piece]:
    """Documents of which each is a line or paragraph."""
    separator, shown = re.compile(SEPARATORS[part.documents] or b""), escaped(part.text.path)
    place = part.start
    while place < part.stop:
        stop = cut_after(file, place + _PIECE, part.stop, part.documents, shown)
        file.seek(place)
        for content in separator.split(file.read(stop - place)):
            text = _decoded(content)
            if part.documents == "jsonl" and text.strip():
                text = line_document(text, f"{shown}, line at byte {place:,}")[1]
            if text.strip("\0").strip():
                yield from pieces_of(text)
            place += len(content) + 1  # a line of JSON and its end; no other place is told
        place = stop


def pieces_of(text: str, size: int = _PIECE, around: int = _AROUND) -> Iterator[Piece]:
    """Split one in-memory document into pieces.

    Args:
        text: The document.
        size: Characters after which a piece ends at the next line end.
        around: Characters of the document before and behind each piece.

    Yields:
        The pieces, one where the document is short.
    """
    start = 0
    while start < len(text):
        found = text.find("\n", start + size, start + size + around)
        stop = len(text) if start + size >= len(text) else found + 1 if found >= 0 else start + size
        yield _window(text, start, stop, around, around)
        start = stop


def _window(text: str, start: int, stop: int, before: int, after: int) -> Piece:
    low = max(0, start - before)
    wider: Callable[[], Piece] | None = (lambda: _window(text, start, stop, 4 * before, after)) if low else None
    return Piece(text[low : stop + after], start - low, stop - low, start == 0, low == 0, wider)


def _long_document(file: BinaryIO, part: Stretch) -> Iterator[Piece]:
    """The stretch of a file that is one document."""
    start = part.start
    while start < part.stop:
        stop = cut_after(file, start + _PIECE, part.stop, "file", escaped(part.text.path))
        yield _read_window(part.text, start, stop, _AROUND)
        start = stop


def _read_window(text: SurveyedText, start: int, stop: int, before: int) -> Piece:
    with open_regular(text.path) as file:
        low = character_before(file, max(text.begin, start - before), text.begin)
        high = cut_after(file, stop + _AROUND, text.facts.bytes, "file", escaped(text.path))
        file.seek(low)
        parts = [_decoded(file.read(upper - lower)) for lower, upper in ((low, start), (start, stop), (stop, high))]
    begins = low == text.begin
    wider: Callable[[], Piece] | None = None if begins else (lambda: _read_window(text, start, stop, 4 * before))
    first, last = len(parts[0]), len(parts[0]) + len(parts[1])
    return Piece("".join(parts), first, last, start == text.begin, begins, wider)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


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


_SURVEY_CHUNK = 1 << 20
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
        while chunk := file.read(_SURVEY_CHUNK):
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
