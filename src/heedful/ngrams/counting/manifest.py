"""Manifest of counts: one JSON document with what was counted, how, and every file's checksum.

Folder of counts: files are written atomically and verified by checksum.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from heedful.errors import InputRejected, OutputError
from heedful.loading.corpus import TextFile
from heedful.loading.memory import ensure_fits
from heedful.loading.regular_file import parse_json, read_small
from heedful.loading.wording import escaped, reason
from heedful.ngrams.counting.packing import CONTEXT_BITS, bits_of
from heedful.reporting.write import filled_folder, write_atomic

SCHEMA = "heedful.counts/1"
LARGEST = 1 << 25
"""Bytes of a manifest; one of 100,000 texts has about half of it."""

MOST_VOCABULARY, MOST_LENGTH, MOST_SKIP, MOST_TABLES, MOST_FILES = 1 << 24, 63, 1 << 20, 4096, 1 << 20
UNSEALED = "written by an older heedful: its manifest carries no checksum of its own, so an edit of it may not show"
SEAL = "seal"
_Record = TypeVar("_Record")


@dataclass(frozen=True)
class CountFile:
    """Name, size and checksum of one Parquet file.

    Attributes:
        name: Its path within the folder.
        rows: Its pairs.
        bytes: Its size.
        sha256: Of its bytes, hexadecimal.
    """

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    r"""Facts about one count table.

    Attributes:
        n: Tokens in a context.
        skip: Tokens between a context and the token after it.
        total: Positions counted: the sum of all counts.
        contexts: Distinct contexts.
        pairs: Distinct pairs of context and next token, the entries of the matrix that are not 0.
        once: Pairs that were counted once.
        files: Where they stand.
    """

    n: int
    skip: int
    total: int
    contexts: int
    pairs: int
    once: int
    files: tuple[CountFile, ...]

    @property
    def coverage(self) -> float:
        r"""Estimated probability that the next (context, token) pair was counted before, :math:`1 - N_1 / N`.

        Source: Good 1953, doi:10.1093/biomet/40.3-4.237. NaN where nothing was counted.
        """
        return 1 - self.once / self.total if self.total else float("nan")

    def density(self, vocabulary: int) -> float:
        """Return the share of nonzero entries in the matrix of observed contexts by vocabulary; NaN if nothing was
        counted.
        """
        return self.pairs / (self.contexts * vocabulary) if self.contexts else float("nan")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Content of a manifest: what was counted, how, and into which files.

    Attributes:
        complete: Whether the counts are merged and whole.
        tokenizer: Name of the tokenizer.
        fingerprint: Of the tokenizer, hexadecimal.
        vocabulary: Number of token ids.
        documents_are: What makes a document.
        texts: The texts, in their order.
        n: Lengths of contexts.
        skips: Skips.
        shard_bytes: Bytes of text in each shard.
        documents: Documents that hold a token.
        tokens: Tokens of all documents.
        unknown: Tokens that stand for what the vocabulary lacks.
        tables: One a pair of ``n`` and ``skip``, and that of ``n = 0``: the tokens alone.
        notes: What was odd about the texts.
    """

    complete: bool
    tokenizer: str
    fingerprint: str
    vocabulary: int
    documents_are: str
    texts: tuple[TextFile, ...]
    n: tuple[int, ...]
    skips: tuple[int, ...]
    shard_bytes: tuple[int, ...]
    documents: int = 0
    tokens: int = 0
    unknown: int = 0
    tables: tuple[TableFacts, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def write(self, out: Path) -> None:
        """Write the manifest to a folder."""
        tree = {"schema": SCHEMA, **asdict(self)}
        text = json.dumps({**tree, SEAL: seal_of(tree)}, indent=1, ensure_ascii=False)
        put(out / MANIFEST, (text + "\n").encode("utf-8", "backslashreplace"))


def read_manifest(out: Path) -> Manifest:
    """Read and verify the manifest of a folder.

    Args:
        out: The folder of counts.

    Returns:
        The manifest.

    Raises:
        InputRejected: There is none, or it is none of this schema.
    """
    path = out / MANIFEST
    fix = "name a folder that heedful ngrams count wrote"
    if not path.is_file():
        raise InputRejected(str(out), f"expected a folder of counts, found no {MANIFEST}", fix)
    content = read_small(path, LARGEST, "a manifest of counts", follow=False)
    try:
        tree = parse_json(content.decode("utf-8", "backslashreplace"), str(path))
        found = tree.get("schema") if isinstance(tree, dict) else None
        if found != SCHEMA:
            raise InputRejected(str(path), f"expected schema {SCHEMA}, found {str(found)[:60]!r}", fix)
        seal = tree.pop(SEAL, None)
        manifest = _manifest({name: value for name, value in tree.items() if name != "schema"})
        if seal is not None and seal != seal_of(tree):
            message = "its checksum is not that of its content: the manifest was changed"
            raise InputRejected(str(path), message, "count the text again, or copy the folder again")
        _check_bounds(manifest)
    except InputRejected as error:
        if error.what.startswith(("expected schema", "its checksum")):
            raise
        raise InputRejected(str(path), f"not a manifest of counts: {error.what}", fix) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f": {reason(error)}" if isinstance(error, ValueError) else ""
        raise InputRejected(str(path), f"not a manifest of counts ({type(error).__name__}){message}", fix) from error
    return manifest if seal is not None else replace(manifest, notes=(*manifest.notes, UNSEALED))


def seal_of(tree: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest given without its seal; key order and whitespace do not affect the hash."""
    plain = json.loads(json.dumps(tree, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _check_bounds(manifest: Manifest) -> None:
    """Refuse numbers that no counting gives, or that contradict one another.

    Raises:
        ValueError: There is one.
    """
    one = manifest
    lengths = one.n and max(one.n) * bits_of(one.vocabulary) <= CONTEXT_BITS and max(one.n) <= MOST_LENGTH
    skips = one.skips and max(one.skips) <= MOST_SKIP
    if not (0 < one.vocabulary <= MOST_VOCABULARY and lengths and skips and min(one.n) >= 1):
        raise ValueError("a vocabulary, a length of contexts or a skip out of bounds")
    if not one.complete:
        return
    known = [(0, 0), *((length, skip) for length in one.n for skip in one.skips)]
    if len(known) > MOST_TABLES or [(table.n, table.skip) for table in one.tables] != known:
        raise ValueError("its tables are not those of its lengths and skips")
    names = [file.name for table in one.tables for file in table.files]
    if len(set(names)) != len(names) or len(names) > MOST_FILES:
        raise ValueError("a file is listed twice")
    for table in one.tables:
        # bounds, not equations: what exactly the numbers are is checked where the table is read
        ordered = table.once <= table.pairs <= table.total <= one.tokens and table.contexts <= table.pairs
        if not ordered or sum(file.rows for file in table.files) != table.pairs:
            raise ValueError("numbers of a table contradict one another")
    if one.tables[0].total != one.tokens or not one.unknown <= one.tokens or not one.documents <= one.tokens:
        raise ValueError("its tokens are not those of its tables")
    for table in one.tables:
        if (table.n, table.skip) == (1, 0) and table.total != one.tokens - one.documents:
            raise ValueError("its documents are not those of its tables")


def _manifest(tree: dict[str, Any]) -> Manifest:
    for name in ("texts", "tables", "notes", "n", "skips", "shard_bytes"):
        if not isinstance(tree[name], list):
            raise TypeError(f"{name}: expected a list")
    tables = [
        _record(TableFacts, {**one, "files": tuple(_record(CountFile, each) for each in one["files"])})
        for one in tree["tables"]
    ]
    for table in tables:
        for one in table.files:
            if Path(one.name).name != one.name or not one.name.endswith(".parquet"):
                raise ValueError(f"{one.name!r} is no name of a file of counts")
    return _record(
        Manifest,
        {
            **tree,
            "texts": tuple(_record(TextFile, one) for one in tree["texts"]),
            "tables": tuple(tables),
            **{name: _whole(tree[name]) for name in ("n", "skips", "shard_bytes")},
            "notes": tuple(map(str, tree["notes"])),
        },
    )


_TYPES = {"int": int, "str": str, "bool": bool}


def _record(wanted: type[_Record], tree: dict[str, Any]) -> _Record:
    """A record of exactly its fields, whole numbers, words and truth values of their types."""
    for one in fields(wanted):  # type: ignore[arg-type]
        plain = _TYPES.get(str(one.type))
        if plain is not None and type(tree[one.name]) is not plain:
            raise TypeError(f"{one.name}: {tree[one.name]!r}")
        if plain is int and tree[one.name] < 0:
            raise ValueError(f"{one.name}: {tree[one.name]}")
    return wanted(**tree)


def _whole(values: Sequence[Any]) -> tuple[int, ...]:
    if not all(type(value) is int and value >= 0 for value in values):
        raise TypeError("expected whole numbers")
    return tuple(values)


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
