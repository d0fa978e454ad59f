"""The text that counting reads, in shards of pieces, and the encoder that turns it into tokens.

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
    """A part of one document, with surrounding text of the same document.

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
    """A text file as it was when counting began.

    Attributes:
        name: Its name, without folders.
        bytes: Its size.
        sha256: Of its bytes, hexadecimal.
    """

    name: str
    bytes: int
    sha256: str


class Corpus(Protocol):
    """Documents in shards. Each shard can be read alone, in any order, and always gives the same pieces."""

    @property
    def files(self) -> Sequence[TextFile]:
        """The texts, in the order of the shards."""

    @property
    def documents(self) -> str:
        """What counts as a document, in one word."""

    @property
    def notes(self) -> Sequence[str]:
        """Oddities of the texts."""

    @property
    def shard_bytes(self) -> Sequence[int]:
        """Bytes of text in each shard."""

    def pieces(self, shard: int) -> Iterator[Piece]:
        """The pieces of one shard, in the order of the text."""


class Encoder(Protocol):
    """Turns text into token ids, always in the same way."""

    @property
    def name(self) -> str:
        """A short name."""

    @property
    def size(self) -> int:
        """Number of token ids; every id is below it."""

    @property
    def unknown(self) -> int | None:
        """The id of tokens outside the vocabulary, if there is one."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that affects its tokens, hexadecimal (`heedful.loading.fingerprint`)."""

    def encode(self, pieces: Iterable[Piece], past: int) -> Iterator[TokenPiece]:
        """Tokens of each piece, with at least ``past`` tokens before the piece's own if the document has them."""

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` into a folder."""
