"""Split documents into windows of equal length and sample windows evenly over documents.

Find exact and near copies among documents by shared word sequences; copies count as one document.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from heedful.loading.documents import Documents
from heedful.loading.tokenizer_files import bounds_for, tried

ENOUGH_DOCUMENTS = 16
"""Fewer documents than these are cut into blocks, so that a spread between documents can be estimated at all."""

BLOCKS = 64
"""Most blocks that documents are cut into, together."""

CHARACTERS_PER_TOKEN = 16
"""Characters set aside for a token; common tokenizers need 1 to 6."""

SCANNED_CHARACTERS = 8_000_000
"""Most characters that are tokenised to find the windows of one run."""

Tokenise = Callable[[str], list[int]]


@dataclass(frozen=True)
class Source:
    """Windows of one document or block.

    Attributes:
        name: Name of the document or block.
        windows: Token ids, each list of full length.
        rest: Token ids after the last full window.
        cut: Whether more text of the document was not looked at.
    """

    name: str
    windows: tuple[list[int], ...]
    rest: tuple[int, ...]
    cut: bool


@dataclass(frozen=True)
class Choice:
    """Chosen windows in batch order; neighbours come from different sources where possible.

    Attributes:
        windows: Token ids.
        sources: Name of the source of each window.
        notes: What was dropped, cut, and too little.
        blocks: Whether blocks of fewer documents stand for documents.
        copies: Documents that were dropped as copies of others.
    """

    windows: tuple[list[int], ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    blocks: bool = False
    copies: int = 0


def choose_bounded(documents: Documents, tokenise: Tokenise, *, size: int, count: int, seed: int) -> Choice:
    """Run ``choose_windows`` in a child process with limits, for an untrusted tokenizer.

    Args:
        documents: The documents.
        tokenise: Text to token ids, without special tokens.
        size: Tokens of a window.
        count: Windows wanted.
        seed: Seed of the order.

    Returns:
        The same.

    Raises:
        InputRejected: The tokenizer went beyond its limits, or failed.
    """

    def chosen() -> dict[str, Any]:
        return asdict(choose_windows(documents.names, documents.texts, tokenise, size=size, count=count, seed=seed))

    characters = min(SCANNED_CHARACTERS, sum(map(len, documents.texts)))
    found = tried(chosen, bounds_for(characters), documents.origin)
    fields: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
    return Choice(**fields)


def choose_windows(
    names: Sequence[str], texts: Sequence[str], tokenise: Tokenise, *, size: int, count: int, seed: int
) -> Choice:
    """Choose windows round-robin over distinct documents, in seeded random order.

    Args:
        names: Name of each document.
        texts: The documents.
        tokenise: Text to token ids, without special tokens.
        size: Tokens of a window.
        count: Windows wanted.
        seed: Seed of the order.

    Returns:
        ``count`` full windows, or as many as there are; where there are none, the longest incomplete ones.
    """
    generator = torch.Generator().manual_seed(seed)
    alone = distinct(texts)
    names, texts = [_distinct(names)[i] for i in alone.kept], [texts[i] for i in alone.kept]
    copies = alone.exact + alone.near
    if len(texts) < ENOUGH_DOCUMENTS:
        sources = _blocks(names, texts, tokenise, size, count)
    else:
        order = torch.randperm(len(texts), generator=generator).tolist()
        sources = _documents([names[i] for i in order], [texts[i] for i in order], tokenise, size, count)
    notes = alone.notes
    blocks = len(texts) < ENOUGH_DOCUMENTS and len(sources) > len(texts)
    if blocks:
        message = (
            f"{len(texts)} document{'s' * (len(texts) != 1)} cut into {len(sources)} blocks that stand for documents"
        )
        notes.append(f"{message}; blocks of one text are not independent, so intervals are too narrow")
    if not any(source.windows for source in sources):
        return _incomplete(sources, size, count, notes, copies)
    drawn = [_drawn(source, generator) for source in _shuffled(sources, generator)]
    queue = [
        (source.windows[turn], source.name)
        for turn in range(max(len(source.windows) for source in drawn))
        for source in drawn
        if turn < len(source.windows)
    ][:count]
    if len(queue) < count:
        notes.append(f"{count} windows of {size} tokens asked for, the text holds {len(queue)}: these are used")
    windows, names = [window for window, _ in queue], [name for _, name in queue]
    return Choice(tuple(windows), tuple(names), tuple(notes), blocks, copies)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which none stands twice: of several ``a``, the second becomes ``a (2)``."""
    met: Counter[str] = Counter()
    taken = set(names)
    distinct = []
    for name in names:
        met[name] += 1
        form = name
        while met[name] > 1 and form in taken:
            form = f"{name} ({met[name]})"
            met[name] += form in taken
        taken.add(form)
        distinct.append(form)
    return distinct


def _documents(names: Sequence[str], texts: Sequence[str], tokenise: Tokenise, size: int, count: int) -> list[Source]:
    """One source a document, each tokenised only as far as the windows wanted ask for."""
    reach = CHARACTERS_PER_TOKEN * size * -(-count // len(texts))
    while True:
        sources: list[Source] = []
        scanned = full = 0
        for name, text in zip(names, texts, strict=True):
            source = _source(name, text[:reach], tokenise, size, cut=len(text) > reach)
            sources.append(source)
            scanned += min(len(text), reach)
            full += bool(source.windows)
            if full >= count or scanned >= SCANNED_CHARACTERS:
                break
        windows = sum(len(source.windows) for source in sources)
        if windows >= count or scanned >= SCANNED_CHARACTERS or not any(source.cut for source in sources):
            return sources
        reach *= 4


def _blocks(names: Sequence[str], texts: Sequence[str], tokenise: Tokenise, size: int, count: int) -> list[Source]:
    """Few documents as many blocks: runs of consecutive windows, or slices spread over a long text."""
    blocks = BLOCKS // len(texts)
    reach = CHARACTERS_PER_TOKEN * size * -(-count // (blocks * len(texts)))
    sources: list[Source] = []
    for name, text in zip(names, texts, strict=True):
        if len(text) > blocks * reach:
            starts = [_word_start(text, index * len(text) // blocks, reach) for index in range(blocks)]
            sources += [
                _source(f"{name} block {index + 1}", text[start : start + reach], tokenise, size, cut=True)
                for index, start in enumerate(starts)
            ]
            continue
        whole = _source(name, text, tokenise, size, cut=False)
        sources += _runs(whole, blocks) or [whole]
    return sources


def _runs(whole: Source, blocks: int) -> list[Source]:
    """Consecutive runs of a document's windows, as even as can be."""
    total = len(whole.windows)
    number = min(blocks, total)
    if number < 2:
        return []
    bounds = [index * total // number for index in range(number + 1)]
    return [
        Source(f"{whole.name} block {index + 1}", whole.windows[bounds[index] : bounds[index + 1]], (), False)
        for index in range(number)
    ]


def _source(name: str, text: str, tokenise: Tokenise, size: int, *, cut: bool) -> Source:
    ids = tokenise(text)
    full = len(ids) // size
    windows = tuple(ids[index * size : (index + 1) * size] for index in range(full))
    return Source(name, windows, tuple(ids[full * size :]), cut)


def _word_start(text: str, place: int, reach: int) -> int:
    """The first place after a blank, looked for no further than a quarter of the slice."""
    blank = text.find(" ", place, place + reach // 4) if place else -1
    return blank + 1 if blank >= 0 else place


def _shuffled(sources: Sequence[Source], generator: torch.Generator) -> list[Source]:
    return [sources[index] for index in torch.randperm(len(sources), generator=generator).tolist()]


def _drawn(source: Source, generator: torch.Generator) -> Source:
    """The same source with its windows in an order drawn."""
    order = torch.randperm(len(source.windows), generator=generator).tolist()
    return Source(source.name, tuple(source.windows[index] for index in order), source.rest, source.cut)


def _incomplete(sources: Sequence[Source], size: int, count: int, notes: list[str], copies: int) -> Choice:
    """The longest pieces of a text that holds no full window."""
    pieces = sorted((source for source in sources if source.rest), key=lambda source: -len(source.rest))[:count]
    if pieces:
        message = f"no document holds {size} tokens: {len(pieces)} windows of {len(pieces[-1].rest)} to"
        notes.append(f"{message} {len(pieces[0].rest)} tokens are used, padded on the right")
    return Choice(
        tuple(list(piece.rest) for piece in pieces), tuple(piece.name for piece in pieces), tuple(notes), False, copies
    )


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
