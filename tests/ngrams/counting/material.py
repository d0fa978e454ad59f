"""A corpus of token documents in memory, in shards of pieces that need no tokenizer, and what reads tables back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heedful.loading.corpus import Piece, TextFile, TokenPiece
from heedful.loading.token_encoder import fingerprint
from heedful.ngrams.counting.manifest import MANIFEST, SEAL, seal_of
from heedful.ngrams.counting.reading import CountTable


def tokenizer_text(size: int) -> str:
    """A tokenizer.json of that many tokens."""
    words = {f"w{number}": number for number in range(size)}
    return json.dumps({"model": {"type": "WordLevel", "vocab": words}, "pre_tokenizer": None})


def signed(folder: Path, **changes: Any) -> None:
    """Change the manifest of a folder as a forger would who knows how it is sealed."""
    path = folder / MANIFEST
    tree = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    del tree[SEAL]
    path.write_text(json.dumps({**tree, SEAL: seal_of(tree)}), encoding="utf-8")


class Numbers:
    """Documents of numbers: a piece's text is the document's tokens as characters from code point 0 on."""

    documents = "auto"
    notes: tuple[str, ...] = ()

    def __init__(self, documents: Sequence[Sequence[int]], shards: int = 1, piece: int = 5) -> None:
        self.parts = [[chr(token) for token in document] for document in documents]
        self.count, self.piece = shards, piece
        self.read: list[int] = []

    @property
    def files(self) -> list[TextFile]:
        return [TextFile(f"{number}.txt", len(part), "0" * 64) for number, part in enumerate(self.parts)]

    @property
    def shard_bytes(self) -> list[int]:
        return [1 << 20] * self.count

    def pieces(self, shard: int) -> Iterator[Piece]:
        self.read.append(shard)
        everything = list(self._all())
        step = -(-len(everything) // self.count)
        yield from everything[shard * step : (shard + 1) * step]

    def _all(self) -> Iterator[Piece]:
        for part in self.parts:
            text = "".join(part)
            for start in range(0, len(text), self.piece):
                yield Piece(text, start, min(start + self.piece, len(text)), start == 0)


class Codes:
    """The encoder of `Numbers`: a token is its code point."""

    name = "codes"
    unknown: int | None = None

    def __init__(self, size: int, unknown: int | None = None) -> None:
        self.size, self.unknown = size, unknown
        self.fingerprint = fingerprint(tokenizer_text(size))

    def encode(self, pieces: Iterable[Piece], past: int) -> Iterator[TokenPiece]:
        for piece in pieces:
            ids = np.array([ord(character) for character in piece.text], dtype=np.uint32)
            low = max(0, piece.first - past)
            yield TokenPiece(ids[low : piece.last], piece.first - low, piece.opens)

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text(tokenizer_text(self.size), encoding="utf-8")


def as_counter(table: CountTable) -> Counter[Any]:
    """A table as the oracle has it."""
    matrix = table.matrix.tocoo()
    rows, columns = matrix.coords
    contexts = [tuple(map(int, context)) for context in table.contexts]
    return Counter(
        {
            (contexts[row], int(column)): int(count)
            for row, column, count in zip(rows, columns, matrix.data, strict=True)
        }
    )


def zipf(documents: int, longest: int, vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Documents of random length, of which the k-th token is drawn with odds of 1 / k."""
    draw = np.random.default_rng(seed)
    odds = 1 / np.arange(1, vocabulary + 1)
    return [
        draw.choice(vocabulary, size=draw.integers(0, longest), p=odds / odds.sum()).tolist() for _ in range(documents)
    ]
