"""Read counts from disk, with checksums verified.

Counts as sparse matrices, observed contexts by next tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars
from numpy.typing import NDArray

from heedful.errors import InputRejected, UsageError
from heedful.loading.memory import ensure_fits
from heedful.loading.parquet_pages import decoded_table, parquet_outline
from heedful.loading.regular_file import read_small
from heedful.loading.token_encoder import fingerprint
from heedful.loading.tokenizer_files import TOKENIZER_BYTES, bounds_for, check_tokenizer, tried
from heedful.loading.wording import escaped
from heedful.ngrams.counting.manifest import (
    MANIFEST,
    CountFile,
    Manifest,
    TableFacts,
    checked_bytes,
    read_manifest,
    sha256_of,
)
from heedful.ngrams.counting.packing import Pairs, bits_of, unpack
from heedful.ngrams.counting.shard import COLUMNS, PAGE_BYTES

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from tokenizers import Tokenizer


TOKENIZER = "tokenizer.json"

_ROW_BYTES = 64
"""Memory of a pair while its table is made: three columns, their copy, and the sparse matrix."""


@dataclass(frozen=True)
class Counts:
    """N-gram counts of a text, read from a folder.

    Attributes:
        path: Their folder.
        manifest: What they say of themselves.
    """

    path: Path
    manifest: Manifest

    def table(self, n: int, skip: int = 0) -> CountTable:
        """Read one count table, with checksums verified.

        Args:
            n: Tokens in a context; 0 for the tokens alone.
            skip: Tokens between a context and the token after it.

        Returns:
            The table.

        Raises:
            UsageError: It was not counted.
            InputRejected: A file of it was cut or changed, or holds what is no count.
        """
        facts = self.facts(n, skip)
        wanted = _ROW_BYTES * facts.pairs
        ensure_fits(wanted, f"{self.path}: {facts.pairs:,} pairs of n = {n}, skip {skip}", hint="count fewer tokens")
        frames = [_read(self.path / one.name, one) for one in facts.files]
        frame = polars.concat(frames) if frames else polars.DataFrame(schema=COLUMNS)
        pairs = Pairs(*(frame[name].to_numpy() for name in COLUMNS))
        self._check(pairs, facts)
        return CountTable.of(pairs, n, skip, self.manifest.vocabulary)

    def facts(self, n: int, skip: int = 0) -> TableFacts:
        """Return the manifest's facts on one table.

        Raises:
            UsageError: It was not counted.
        """
        for one in self.manifest.tables:
            if (one.n, one.skip) == (n, skip):
                return one
        known = ", ".join(f"({one.n}, {one.skip})" for one in self.manifest.tables)
        raise UsageError(f"{self.path}: no table of n = {n}, skip {skip}; there are (n, skip): {known}")

    @cached_property
    def tokens(self) -> np.ndarray:
        """Number of occurrences of each token in the text, ``(vocabulary,)`` int64."""
        return self.table(0).next_counts

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer (of the ``tokenizers`` library) with which the text was counted."""
        return _tokenizer(self.path / TOKENIZER)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of texts by the counts' tokenizer, in a child process with limits.

        Raises:
            InputRejected: The tokenizer went beyond its limits, or failed.
        """
        tokenizer = self.tokenizer
        bounds = bounds_for(sum(map(len, texts)))
        found: list[list[int]] = tried(lambda: [tokenizer.encode(text).ids for text in texts], bounds, str(self.path))
        return found

    @property
    def vocabulary(self) -> list[str]:
        """Text of each token id; empty if the tokenizer has none."""
        return [self.tokenizer.id_to_token(number) or "" for number in range(self.manifest.vocabulary)]

    def verify(self) -> None:
        """Read every file and verify its checksum.

        Raises:
            InputRejected: One was cut or changed.
        """
        for one in self.manifest.tables:
            self.table(one.n, one.skip)

    def _check(self, pairs: Pairs, facts: TableFacts) -> None:
        top = 1 << (bits_of(self.manifest.vocabulary) * facts.n)
        ascending = (pairs.context[1:] > pairs.context[:-1]) | (
            (pairs.context[1:] == pairs.context[:-1]) & (pairs.next[1:] > pairs.next[:-1])
        )
        sound = (
            len(pairs.count) == facts.pairs
            and int(pairs.count.sum()) == facts.total
            and int((pairs.count == 1).sum()) == facts.once
            and len(np.unique(pairs.context)) == facts.contexts
            and bool(ascending.all())
            and (not len(pairs.count) or int(pairs.count.min()) >= 1)
            and (not len(pairs.next) or int(pairs.next.max()) < self.manifest.vocabulary)
            and (not len(pairs.context) or 0 <= int(pairs.context[0]) <= int(pairs.context[-1]) < top)
        )
        if not sound:
            message = f"its table of n = {facts.n}, skip {facts.skip} holds what is no count of its vocabulary"
            raise InputRejected(str(self.path), message, "count the text again")


def read_counts(
    folder: str | Path, *, tokenizer: Tokenizer | None = None, text: str | Path | Sequence[str | Path] | None = None
) -> Counts:
    """Read counts written by ``heedful ngrams count``.

    Args:
        folder: Their folder.
        tokenizer: A tokenizer that must be the one they were counted with, a model's say.
        text: Text files, one or several, that must be those that were counted.

    Returns:
        The counts; a table is read, and its checksums verified, when it is asked for.

    Raises:
        UsageError: The folder is no path.
        InputRejected: The folder holds no whole counts; or they are of another tokenizer or of another text.

    Example:
        >>> read_counts("counts").table(2, 1).conditional()  # doctest: +SKIP
    """
    if not isinstance(folder, str | Path):
        raise UsageError(f"counts: expected the folder that heedful.count wrote, got {type(folder).__name__}")
    path = Path(folder)
    manifest = read_manifest(path)
    if not manifest.complete:
        raise InputRejected(
            str(path), "counting was begun and not finished", "heedful ngrams count --resume continues it"
        )
    for table in manifest.tables:
        for one in table.files:
            _check_there(path / one.name, one, table)
    _check_tokenizer(path, manifest, tokenizer)
    listed = [text] if isinstance(text, str | Path) else text
    _check_text(path, manifest, [Path(one) for one in listed] if listed is not None else None)
    return Counts(path, manifest)


def _check_there(path: Path, facts: CountFile, table: TableFacts) -> None:
    """Refuse a file that is a link, of another size, or of other rows than the manifest says, before it is read."""
    shown, again = escaped(path), "count the text again"
    if path.is_symlink():
        raise InputRejected(shown, "a symbolic link; counts lie in their own folder", "copy the file there")
    size = path.stat().st_size if path.is_file() else None
    if size != facts.bytes:
        found = "no file" if size is None else f"{size:,} bytes: it was cut or changed"
        raise InputRejected(shown, f"expected {facts.bytes:,} bytes, found {found}", again)
    if facts.rows > table.pairs:
        raise InputRejected(shown, f"{facts.rows:,} rows of a table of {table.pairs:,}", again)


def _check_tokenizer(path: Path, manifest: Manifest, tokenizer: Tokenizer | None) -> None:
    place = path / TOKENIZER
    if place.is_symlink():
        raise InputRejected(escaped(place), "a symbolic link; counts lie in their own folder", "copy the file there")
    content = read_small(place, TOKENIZER_BYTES, "a tokenizer") if place.exists() else b""
    try:
        text = content.decode("utf-8")
        own, size = fingerprint(text), _token_ids(json.loads(text))
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise InputRejected(escaped(place), "cannot be read as a tokenizer", "count the text again") from error
    if own != manifest.fingerprint:
        message = f"is not the tokenizer that was counted with ({own[:12]}, expected {manifest.fingerprint[:12]})"
        raise InputRejected(escaped(place), message, "count the text again")
    if size != manifest.vocabulary:
        message = f"expected a vocabulary of {size:,} as its tokenizer has, found {manifest.vocabulary:,}"
        raise InputRejected(escaped(path / MANIFEST), message, "count the text again")
    if tokenizer is not None and (other := fingerprint(tokenizer.to_str())) != own:
        message = f"counted with another tokenizer ({manifest.tokenizer}, {own[:12]}; yours is {other[:12]})"
        raise InputRejected(str(path), message, "count the text with this tokenizer")


def _token_ids(tree: dict[str, Any]) -> int:
    """Number of token ids of a tokenizer.json: the largest and one."""
    words = tree["model"]["vocab"]
    ids = [len(words) - 1] if isinstance(words, list) else list(words.values())
    return 1 + max([*ids, *(one["id"] for one in tree.get("added_tokens") or ())], default=-1)


def _tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a folder of counts, tried in a child first."""
    from tokenizers import Tokenizer

    content = read_small(path, TOKENIZER_BYTES, "a tokenizer")
    check_tokenizer(content, str(path))
    text = content.decode("utf-8")
    tried(lambda: Tokenizer.from_str(text) is None, bounds_for(0, len(content)), str(path))
    return Tokenizer.from_str(text)


def _check_text(path: Path, manifest: Manifest, text: list[Path] | None) -> None:
    if text is None:
        return
    fix = "give the texts that were counted, or count these"
    if len(text) != len(manifest.texts):
        raise InputRejected(str(path), f"counted from {len(manifest.texts)} texts, {len(text)} were given", fix)
    for place, facts in zip(text, manifest.texts, strict=True):
        try:
            same = place.stat().st_size == facts.bytes and sha256_of(place) == facts.sha256
        except OSError as error:
            raise InputRejected(str(place), f"cannot be read: {error.strerror}", "check the path") from error
        if not same:
            raise InputRejected(str(place), f"is not the text that {path} was counted from ({facts.name})", fix)


def _read(path: Path, facts: CountFile) -> polars.DataFrame:
    content = checked_bytes(path, facts.bytes, facts.sha256)
    outline = parquet_outline(content, escaped(path), row_bytes=PAGE_BYTES)
    if outline.rows != facts.rows:
        message = f"its footer says {outline.rows:,} rows, the manifest {facts.rows:,}"
        raise InputRejected(escaped(path), message, "count the text again")
    if outline.columns != tuple(COLUMNS):
        raise InputRejected(str(path), f"expected the columns {', '.join(COLUMNS)}", "count the text again")
    frame = decoded_table(content, escaped(path))
    if dict(frame.schema) != COLUMNS or frame.null_count().sum_horizontal().item():
        raise InputRejected(str(path), f"expected the columns {', '.join(COLUMNS)}", "count the text again")
    return frame


@dataclass(frozen=True)
class CountTable:
    r"""Sparse count table :math:`C^{n,s}`, contexts by next tokens (see ``heedful.ngrams.counting.packing``).

    Attributes:
        n: Tokens in a context; 0 for the table of the tokens alone, whose one context is empty.
        skip: Tokens between a context and the token after it.
        contexts: ``(context, n)``, uint32; the observed contexts, ascending, each in the order of the text.
        matrix: ``(context, vocabulary)``, int64, sparse by rows; how often each token stood ``skip + 1`` positions
            behind the end of each context. Every stored entry is at least 1.
    """

    n: int
    skip: int
    contexts: NDArray[np.uint32]
    matrix: csr_array

    @classmethod
    def of(cls, pairs: Pairs, n: int, skip: int, vocabulary: int) -> CountTable:
        """Create a table from pairs in ascending order."""
        from scipy.sparse import csr_array

        packed, starts = np.unique(pairs.context, return_index=True)
        pointers = np.append(starts, len(pairs.context))
        matrix = csr_array(
            (pairs.count, pairs.next.astype(np.int64), pointers), shape=(len(packed), vocabulary), dtype=np.int64
        )
        return cls(n, skip, unpack(packed, n, bits_of(vocabulary)), matrix)

    @property
    def total(self) -> int:
        """Number of counted positions."""
        return int(self.matrix.sum())

    @property
    def context_counts(self) -> NDArray[np.int64]:
        """Row sums :math:`r_a`, ``(context,)``: number of occurrences of each context before a token."""
        return np.asarray(self.matrix.sum(axis=1), dtype=np.int64).reshape(-1)

    @property
    def next_counts(self) -> NDArray[np.int64]:
        """Column sums :math:`c_b`, ``(vocabulary,)``: number of times each token followed a context."""
        return np.asarray(self.matrix.sum(axis=0), dtype=np.int64).reshape(-1)

    def conditional(self) -> csr_array:
        r"""Return the probability of each token after each context, :math:`P^{n,s}_{ab} = C_{ab} / r_a`.

        Expected attention of a query at position ``i`` on the key at ``k <= i`` is this probability of key ``k``'s
        token after the context that ends at ``i``, divided by its sum over ``k <= i``.

        Returns:
            ``(context, vocabulary)``, float64; every row sums to 1. A context that was not observed has no row.
        """
        from scipy.sparse import csr_array

        scale = np.repeat(1 / self.context_counts, np.diff(self.matrix.indptr))
        return csr_array((self.matrix.data * scale, self.matrix.indices, self.matrix.indptr), shape=self.matrix.shape)

    def rows_of(self, contexts: NDArray[np.integer] | Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Return the row index of each context, ``(context,)``; -1 for contexts that were not observed.

        Args:
            contexts: ``(context, n)``, token ids in the order of the text.

        Returns:
            ``(context,)``; -1 where a context was not observed.

        Raises:
            UsageError: The shape is another, or an id is outside the vocabulary.
        """
        asked = np.asarray(contexts, dtype=np.int64).reshape(-1, self.n) if np.size(contexts) else None
        if asked is None:
            return np.empty(0, np.int64)
        vocabulary = self.matrix.shape[1]
        if np.shape(contexts)[-1] != self.n:
            raise UsageError(f"expected contexts of {self.n} tokens, got shape {np.shape(contexts)}")
        if asked.min() < 0 or asked.max() >= vocabulary:
            worst = int(asked.max() if asked.max() >= vocabulary else asked.min())
            raise UsageError(f"token id {worst} is outside the vocabulary of {vocabulary:,} tokens")
        known, wanted = _packed(self.contexts, vocabulary), _packed(asked, vocabulary)
        place = np.searchsorted(known, wanted)
        found = place < len(known)
        found[found] = known[place[found]] == wanted[found]
        return np.where(found, place, -1)


def _packed(contexts: NDArray, vocabulary: int) -> NDArray[np.int64]:
    packed = np.zeros(len(contexts), dtype=np.int64)
    for column in contexts.T:
        packed = (packed << bits_of(vocabulary)) | column.astype(np.int64)
    return packed
