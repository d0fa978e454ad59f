"""Split documents into windows of equal length and sample windows evenly over documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from heedful.loading.copies import distinct
from heedful.loading.documents import Documents
from heedful.loading.tokenizer_limits import bounds_for, tried

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
