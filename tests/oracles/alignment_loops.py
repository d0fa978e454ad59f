"""Attention compared with counts, by loops over rows and keys; imports nothing of heedful."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

Counted = dict[tuple[int, ...], Counter[int]]


def count(text: Sequence[int], n: int, skip: int) -> Counted:
    """After which tokens each tuple of n tokens stood, ``skip`` tokens left out."""
    found: Counted = defaultdict(Counter)
    for end in range(n - 1, len(text) - 1 - skip):
        found[tuple(text[end - n + 1 : end + 1])][text[end + 1 + skip]] += 1
    return found


def expected(counted: Counted, tokens: Sequence[int], row: int, n: int) -> list[float] | None:
    """Weights of one row, or None."""
    if row < n - 1 or (context := tuple(tokens[row - n + 1 : row + 1])) not in counted:
        return None
    seen = [counted[context][token] for token in tokens[: row + 1]]
    return [count / sum(seen) for count in seen] if sum(seen) else None


def frequency(counted: Counted, tokens: Sequence[int], row: int) -> list[float]:
    """Weights by how often each key's token was counted after anything."""
    totals: Counter[int] = Counter()
    for after in counted.values():
        totals.update(after)
    seen = [totals[token] for token in tokens[: row + 1]]
    return [count / sum(seen) for count in seen]


def divergence(wanted: Sequence[float], given: Sequence[float]) -> float:
    return sum(w * (math.log(w) - math.log(g)) for w, g in zip(wanted, given, strict=True) if w > 0)


def row_numbers(wanted: Sequence[float], given: Sequence[float], by_frequency: Sequence[float]) -> list[float]:
    """divergence, uniform, frequency, cosine, match (ties count), chance."""
    size = len(wanted)
    product = sum(w * g for w, g in zip(wanted, given, strict=True))
    lengths = math.sqrt(sum(w * w for w in wanted)) * math.sqrt(sum(g * g for g in given))
    best = [abs(w - max(wanted)) < 1e-12 for w in wanted]
    return [
        divergence(wanted, given),
        divergence(wanted, [1 / size] * size),
        divergence(wanted, by_frequency),
        product / lengths,
        float(best[list(given).index(max(given))]),
        sum(best) / size,
    ]


def mean_over_documents(rows: dict[int, list[list[list[float]]]]) -> list[float]:
    """Document to sequences to rows of numbers: rows weigh the same in a sequence, sequences in a document."""

    def mean(numbers: Sequence[Sequence[float]]) -> list[float]:
        return [sum(column) / len(column) for column in zip(*numbers, strict=True)]

    return mean([mean([mean(sequence) for sequence in sequences if sequence]) for sequences in rows.values()])
