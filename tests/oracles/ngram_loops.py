"""Pairs of context and later token counted by loops over positions, from the definition alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Pair = tuple[tuple[int, ...], int]


def pair_counts(documents: Sequence[Sequence[int]], n: int, skip: int) -> Counter[Pair]:
    """How often each token stands ``skip + 1`` positions behind the end of each context of ``n`` tokens."""
    found: Counter[Pair] = Counter()
    for document in documents:
        for end in range(n - 1, len(document)):
            target = end + 1 + skip
            if target < len(document):
                found[tuple(document[end - n + 1 : end + 1]), document[target]] += 1
    return found


def expected_attention(
    documents: Sequence[Sequence[int]], tokens: Sequence[int], n: int, skip: int
) -> list[list[float]]:
    """Row i: the counted probability of each earlier token after the context that ends at i, over their sum.

    A row whose context or tokens were never counted is all 0.
    """
    counts = pair_counts(documents, n, skip)
    rows = []
    for end in range(len(tokens)):
        context = tuple(tokens[max(0, end - n + 1) : end + 1])
        total = sum(count for (known, _), count in counts.items() if known == context)
        row = [counts[context, token] / total if total else 0.0 for token in tokens[: end + 1]]
        whole = sum(row)
        rows.append([value / whole if whole else 0.0 for value in row])
    return rows
