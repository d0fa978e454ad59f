"""Small texts as token numbers, and tables counted from them by a loop."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from scipy import sparse

import heedful
from heedful.ngrams.derivation.table import NgramTable

HELD_OUT = Path(heedful.__file__).parent / "assets" / "default" / "held_out.jsonl"


def characters(size: int) -> np.ndarray:
    """The first characters of the embedded text as numbers."""
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()
    text = "\n".join(json.loads(line)["text"] for line in lines)[:size]
    alphabet = {letter: number for number, letter in enumerate(sorted(set(text)))}
    return np.array([alphabet[letter] for letter in text])


def counted(tokens: np.ndarray, length: int = 1, skip: int = 0, vocabulary: int | None = None) -> NgramTable:
    """A table of one document, pair by pair."""
    pairs: Counter[tuple[tuple[int, ...], int]] = Counter()
    for end in range(length - 1, len(tokens) - 1 - skip):
        pairs[tuple(int(t) for t in tokens[end - length + 1 : end + 1]), int(tokens[end + 1 + skip])] += 1
    contexts = sorted({context for context, _ in pairs})
    row = {context: number for number, context in enumerate(contexts)}
    shape = (len(contexts), vocabulary or int(tokens.max()) + 1)
    entries = (list(pairs.values()), ([row[context] for context, _ in pairs], [token for _, token in pairs]))
    return NgramTable.of_tokens(np.array(contexts), sparse.csr_array(entries, shape=shape, dtype=float), skip)
