"""Read text files as documents, only as far as a run needs, and count irregularities."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file
from pathlib import Path

from heedful.errors import InputRejected, UsageError
from heedful.loading.embedded_model import embedded_folder
from heedful.loading.regular_file import kind_of, open_regular, parse_json
from heedful.loading.wording import escaped

FILE_BYTES = 64 << 20
"""Most that is read of one file; the windows of one run are cut out of far less."""

TOTAL_BYTES = 256 << 20
"""Most that is read of all files together, as far as each still gets ``_LEAST_BYTES``."""

_LEAST_BYTES = 1 << 20
_CHUNK = 1 << 20
_REPLACEMENT = "\ufffd"
_BINARY_SHARE = 0.1
_OTHER_ENCODINGS = ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")


@dataclass(frozen=True, kw_only=True)
class Documents:
    r"""Texts in reading order, with names and counts of irregularities.

    Attributes:
        names: A name for each, from its file and, in a JSONL file, its id or line.
        texts: The texts, with ``\n`` for every line end; none is blank.
        origin: Where they came from, in words.
        notes: What was replaced, left out or cut off.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    origin: str
    notes: tuple[str, ...] = ()


def load_documents(paths: str | Path | Sequence[str | Path] | None = None, *, name: str = "") -> Documents:
    """Read documents: each line of a ``.jsonl`` file is one; any other file is one document.

    Args:
        paths: The files, or one of them; None for the held-out text of the embedded model.
        name: What to call the whole; by default its files.

    Returns:
        The documents that hold more than blanks.

    Raises:
        UsageError: No path was given, or a file is missing.
        InputRejected: A file is no plain text, or all of it is blank.

    Example:
        >>> load_documents().origin
        'embedded held-out text'
    """
    if isinstance(paths, str | os.PathLike):
        paths = [Path(paths)]
    if paths is None:
        with as_file(embedded_folder() / "held_out.jsonl") as path:
            return _read([path], name or "embedded held-out text")
    if isinstance(paths, bytes) or not isinstance(paths, Iterable):
        raise UsageError(f"paths: expected paths of text files, got {type(paths).__name__}")
    paths = list(paths)
    if not paths:
        raise UsageError("expected text files, got an empty list (name a .txt or .jsonl file)")
    wrong = [path for path in paths if not isinstance(path, str | os.PathLike)]
    if wrong:
        raise UsageError(f"paths: expected paths of text files, got {type(wrong[0]).__name__}")
    places = [Path(path) for path in paths]
    return _read(places, name or ", ".join(path.name for path in places[:3]) + (", ..." if len(places) > 3 else ""))


def _read(paths: Sequence[Path], origin: str) -> Documents:
    limit = min(FILE_BYTES, max(_LEAST_BYTES, TOTAL_BYTES // len(paths)))
    names: list[str] = []
    texts: list[str] = []
    notes: list[str] = []
    blank = 0
    for path in paths:
        text, cut, remarks = _decoded(path, limit)
        notes += remarks
        for title, body in _split(path, text, cut):
            if body.strip("\0").strip():
                names.append(title)
                texts.append(body)
            else:
                blank += 1
    if not texts:
        raise InputRejected(escaped(origin), "expected text, found nothing but blanks", "give files that hold text")
    if blank:
        notes.append(f"{blank} blank documents left out")
    return Documents(names=tuple(names), texts=tuple(texts), origin=escaped(origin), notes=tuple(notes))


def _split(path: Path, text: str, cut: bool) -> Iterator[tuple[str, str]]:
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        yield escaped(path.name), text
        return
    lines = text.split("\n")
    if cut:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _line(path, number, line)


def _line(path: Path, number: int, line: str) -> tuple[str, str]:
    """Name and text of one line of a JSONL file."""
    name, text = line_document(line, f"{escaped(path)}, line {number}")
    title = name if isinstance(name, str | int) and not isinstance(name, bool) else f"{path.name}:{number}"
    return escaped(title), text


def line_document(line: str, where: str) -> tuple[object, str]:
    r"""Return name and text of the document on one JSONL line.

    Args:
        line: The line.
        where: Its place in messages.

    Returns:
        What stands under ``id``, and the text, with ``\n`` for every line end.

    Raises:
        InputRejected: It is no object with a text.
    """
    entry = parse_json(line, where)
    text = entry.get("text") if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise InputRejected(where, 'expected an object with "text"', 'write {"text": "..."} on each line')
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return entry.get("id"), whole.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path, limit: int) -> tuple[str, bool, list[str]]:
    """Text of a file, whether it was cut off at the limit, and notes."""
    shown = escaped(path)
    if kind_of(path) == "a directory":
        raise InputRejected(shown, "expected a text file, found a directory", "name its files, as in DIR/*.txt")
    decode = codecs.getincrementaldecoder("utf-8")("replace")
    pieces: list[str] = []
    message, taken = 0, 0
    with open_regular(path) as file:
        while taken < limit and (chunk := file.read(min(_CHUNK, limit - taken))):
            if not taken:
                check_plain(chunk, shown)
            taken += len(chunk)
            message += chunk.count(_REPLACEMENT.encode())
            pieces.append(decode.decode(chunk))
        cut = bool(file.read(1))
    pieces.append(decode.decode(b"", final=not cut))
    text = "".join(pieces).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    bad, zeros = max(0, text.count(_REPLACEMENT) - message), text.count("\0")
    if bad + zeros > _BINARY_SHARE * max(len(text), 1) and text.strip("\0"):
        raise InputRejected(shown, f"{bad + zeros:,} of {len(text):,} characters are no text", "give plain text")
    notes = [f"{shown}: {bad:,} bytes that are no UTF-8 were replaced"] if bad else []
    notes += [f"{shown}: {zeros:,} NUL characters"] if zeros else []
    return text, cut, notes + ([f"{shown}: only the first {limit:,} bytes were read"] if cut else [])


def check_plain(head: bytes, shown: str) -> None:
    """Raise an error if bytes look like a compressed file or like text in another encoding.

    Args:
        head: The first bytes of a file.
        shown: The file's name in messages.

    Raises:
        InputRejected: They do.
    """
    if head.startswith(_PACKED):
        raise InputRejected(shown, "a compressed file, expected plain text", "decompress it first, as with gunzip")
    for mark, encoding in _OTHER_ENCODINGS:
        if head.startswith(mark):
            raise InputRejected(shown, f"{encoding} text, expected UTF-8", f"iconv -f {encoding} -t UTF-8")
