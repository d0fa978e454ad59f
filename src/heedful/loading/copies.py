"""Find exact and near copies among documents by shared word sequences; copies count as one document."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST = 5
"""Words of a shingle, at least; more where the texts have few kinds of words."""

LONGEST = 64

BY_CHANCE = 1e9
"""Kinds of shingles that there must be, so that texts share few by chance: the length of a shingle follows from it."""

SHARED = 0.5
"""Share of the shorter document's shingles in an earlier one from which on it is a near copy of that."""

SHARED_CHARACTERS = 0.9
"""The same where shingles are of characters: texts without blanks, such as proteins, have much in common."""

READ_CHARACTERS = 20_000
"""Most characters of a document that are compared."""

ALL_CHARACTERS = 2_000_000
"""Most characters of all documents that are compared for near copies; those beyond are compared whole alone."""

_LEAST_CHARACTERS = 500
_WORDS = re.compile(r"\w+|[^\w\s]")
_FEW_WORDS = 20


@dataclass(frozen=True)
class Distinct:
    """Indices of the distinct documents and of dropped copies.

    Attributes:
        kept: Indices of the distinct ones, in their order.
        exact: How many others are exact copies, apart from case and blanks.
        near: How many others are near copies.
    """

    kept: tuple[int, ...]
    exact: int
    near: int

    @property
    def notes(self) -> list[str]:
        """What was dropped and why, as sentences; empty if nothing was."""
        dropped = self.exact + self.near
        if not dropped:
            return []
        parts = [f"{self.exact} exact"] if self.exact else []
        parts += [f"{self.near} near (half of their runs of words stand in an earlier one)"] if self.near else []
        return [
            f"{dropped} of {dropped + len(self.kept)} documents dropped as copies of others, which are no documents "
            f"of their own: {', '.join(parts)}"
        ]


def distinct(texts: Sequence[str]) -> Distinct:
    r"""Keep the first of each group of copied documents.

    Two documents are copies where the shingles (runs of ``k`` consecutive words, or characters where there are few
    words) of the shorter one stand in the longer one in large part:

    .. math:: |S_a \cap S_b| \ge \tau \min(|S_a|, |S_b|)

    with ``k`` long enough that runs of the texts' own words rarely recur by chance. Case and blanks count for nothing.

    Pitfall: documents from one form (invoices, licences) are copies of each other in this sense, and rightly so: they
    do not vary independently. Source: Broder 1997, On the resemblance and containment of documents.

    Args:
        texts: The documents.

    Returns:
        Which of them are distinct, and how many are copies of which kind.

    Example:
        >>> distinct(["to be or not to be", "To be, or not  to be", "To be or not to be"]).kept
        (0, 1)
    """
    whole: dict[str, int] = {}
    exact = 0
    for place, text in enumerate(texts):
        name = " ".join(text.casefold().split())
        exact += name in whole
        whole.setdefault(name, place)
    names, places = list(whole), list(whole.values())
    reach = min(READ_CHARACTERS, max(_LEAST_CHARACTERS, ALL_CHARACTERS // max(1, len(names))))
    compared = min(len(names), max(1, ALL_CHARACTERS // reach))
    units = [_units(name[:reach]) for name in names[:compared]]
    near = _near(units)
    kept = tuple(place for index, place in enumerate(places) if index not in near)
    return Distinct(kept, exact, len(near))


def _units(text: str) -> tuple[bool, list[str]]:
    """Whether a text is taken by characters, and its words or characters."""
    words = _WORDS.findall(text)
    return (False, words) if len(words) >= _FEW_WORDS else (True, list(text.replace(" ", "")))


def _near(units: Sequence[tuple[bool, list[str]]]) -> set[int]:
    """Indices of near copies of an earlier text."""
    lengths = {kind: _length([words for one, words in units if one == kind]) for kind in (False, True)}
    holders: dict[int, list[int]] = {}
    sizes: list[int] = []
    copies: set[int] = set()
    for index, (kind, words) in enumerate(units):
        size = lengths[kind]
        own = {hash((kind, *words[start : start + size])) for start in range(max(1, len(words) - size + 1))}
        sizes.append(len(own))
        met = Counter(earlier for one in own for earlier in holders.get(one, ()))
        least = SHARED_CHARACTERS if kind else SHARED
        if any(count >= least * min(sizes[earlier], len(own)) for earlier, count in met.items()):
            copies.add(index)
            continue
        for one in own:
            holders.setdefault(one, []).append(index)
    return copies


def _length(texts: Sequence[Sequence[str]]) -> int:
    """Words of a shingle: as many as leave few to chance, by the entropy of the words."""
    counts = Counter(word for words in texts for word in words)
    total = sum(counts.values())
    entropy = -sum(count / total * math.log(count / total) for count in counts.values()) if total else 0.0
    return min(LONGEST, max(SHORTEST, math.ceil(math.log(BY_CHANCE) / entropy) if entropy > 0.01 else LONGEST))
