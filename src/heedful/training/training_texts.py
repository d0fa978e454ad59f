"""A run's training texts as a corpus for counting, without held-out documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from heedful.loading.corpus import Piece, TextFile


class TrainingTexts:
    """In-memory documents as a corpus with one shard.

    Args:
        texts: The documents.
    """

    documents = "training documents"

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
        self.files: Sequence[TextFile] = (TextFile("training documents", size, digest),)
        self.notes: Sequence[str] = ()
        self.shard_bytes: Sequence[int] = (size,)

    def pieces(self, shard: int) -> Iterator[Piece]:
        """Yield every document as one piece.

        Args:
            shard: 0.
        """
        return (Piece(text, 0, len(text)) for text in self.texts)
