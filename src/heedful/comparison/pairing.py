"""Find the documents that two reports share, by hashes of their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.evaluation.result import Report

FEWEST = 16
"""Shared documents below which nothing is paired: as for every interval of a report."""


@dataclass(frozen=True)
class DocumentPairing:
    """Indices of the shared documents in each of two reports.

    Attributes:
        before: Index into the units of the first report, one a pair.
        after: Index into those of the second.
        sentence: One sentence for the reader.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    sentence: str

    @property
    def enough(self) -> bool:
        """Whether there are enough shared documents for a paired comparison."""
        return len(self.before) >= FEWEST


def pair_documents(before: Report, after: Report) -> DocumentPairing:
    """Match the documents of two reports by the hash of their tokens.

    Copies of one text are paired in their order. A report that was written without fingerprints pairs with none.

    Args:
        before: The first report.
        after: The second.
    """
    first, second = (_names(report) for report in (before, after))
    if not first or not second:
        which = "the first report lacks" if second else "the second report lacks" if first else "both reports lack"
        return DocumentPairing(
            (), (), f"not paired: {which} the names of documents (an older heedful); by the two intervals"
        )
    place = {name: index for index, name in enumerate(second)}
    pairs = [(index, place[name]) for index, name in enumerate(first) if name in place]
    ours, theirs = zip(*pairs, strict=True) if pairs else ((), ())
    sentence = f"{count(len(pairs), 'document is', 'documents are')} in both reports ({len(first)} and {len(second)})"
    if len(pairs) < FEWEST:
        return DocumentPairing(
            ours, theirs, f"not paired: {sentence}, at least {FEWEST} are needed; by the two intervals"
        )
    return DocumentPairing(ours, theirs, f"paired by document: {sentence}")


def _names(report: Report) -> list[Hashable]:
    """Fingerprint and count of earlier copies of each document."""
    given = report.data.get("document_fingerprints")
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    seen: Counter[str] = Counter()
    names: list[Hashable] = []
    for one in given:
        names.append((str(one), seen[str(one)]))
        seen[str(one)] += 1
    return names
