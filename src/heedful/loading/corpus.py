"""Protocols that n-gram counting needs: a corpus (shards of text, read in pieces) and an encoder (text to token ids).

Reading and tokenising belong to rooms above; here stands only what counting must know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """Part of one document, with surrounding text of the same document.

    Attributes:
        text: The stretch and what surrounds it.
        first: First character of the stretch within ``text``.
        last: Character behind the stretch within ``text``.
        opens: Whether the stretch is the first of its document.
        reaches_begin: Whether ``text`` begins where the document begins.
        wider: Gives the same stretch with more text before it; None where ``text`` reaches the document's begin.
    """

    text: str
    first: int
    last: int
    opens: bool = True
    reaches_begin: bool = True
    wider: Callable[[], Piece] | None = None


@dataclass(frozen=True)
class TokenPiece:
    """The tokens of a piece.

    Attributes:
        ids: ``(token,)``, uint32; tokens of the surrounding text first, of which only the past is kept.
        own: Index of the first token that begins within the stretch itself; those before are its past.
        opens: Whether the stretch is the first of its document.
    """

    ids: NDArray[np.uint32]
    own: int = 0
    opens: bool = True


@dataclass(frozen=True)
class TextFile:
    """Name, size and checksum of a text file when counting began.

    Attributes:
        name: Its name, without folders.
        bytes: Its size.
        sha256: Of its bytes, hexadecimal.
    """

    name: str
    bytes: int
    sha256: str


class Corpus(Protocol):
    """Protocol of documents in shards; each shard can be read alone and always gives the same pieces."""

    @property
    def files(self) -> Sequence[TextFile]:
        """Text files, in shard order."""

    @property
    def documents(self) -> str:
        """Word for what counts as one document, such as ``file``, ``line`` or ``paragraph``."""

    @property
    def notes(self) -> Sequence[str]:
        """Irregularities found in the texts."""

    @property
    def shard_bytes(self) -> Sequence[int]:
        """Number of text bytes in each shard."""

    def pieces(self, shard: int) -> Iterator[Piece]:
        """Yield the pieces of one shard, in text order."""


class Encoder(Protocol):
    """Protocol of an object that converts text to token ids deterministically."""

    @property
    def name(self) -> str:
        """Short name of the encoder."""

    @property
    def size(self) -> int:
        """Number of token ids; all ids are smaller."""

    @property
    def unknown(self) -> int | None:
        """Id for tokens outside the vocabulary, or None."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of everything that affects the tokens (``heedful.loading.token_encoder``)."""

    def encode(self, pieces: Iterable[Piece], past: int) -> Iterator[TokenPiece]:
        """Yield each piece's tokens, preceded by at least ``past`` tokens of the document if it has them."""

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` to a folder."""
