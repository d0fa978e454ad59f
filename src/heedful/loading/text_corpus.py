"""Read text of any size in independent shards, split only between documents or characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from heedful.errors import InputRejected, UsageError
from heedful.loading.corpus import Piece, TextFile
from heedful.loading.documents import line_document
from heedful.loading.regular_file import open_regular
from heedful.loading.text_cuts import SEPARATORS, character_before, cut_after
from heedful.loading.text_survey import SurveyedText, survey
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
