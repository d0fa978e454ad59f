"""Corpus to n-gram counts, on disk and merged by one grouped sum."""

from heedful.counts.corpus import Corpus, Encoder, Piece, TextFile, TokenPiece
from heedful.counts.counting import CountSettings, count
from heedful.counts.fingerprint import fingerprint
from heedful.counts.grouped_sum import ENGINES
from heedful.counts.manifest import Manifest, TableFacts
from heedful.counts.reading import Counts, read
from heedful.counts.table import CountTable

__all__ = [
    "ENGINES",
    "Corpus",
    "CountSettings",
    "CountTable",
    "Counts",
    "Encoder",
    "Manifest",
    "Piece",
    "TableFacts",
    "TextFile",
    "TokenPiece",
    "count",
    "fingerprint",
    "read",
]
