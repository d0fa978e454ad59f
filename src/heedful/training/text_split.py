"""Split documents into training and held-out sets, with all copies of a document in the same set."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass

from heedful.errors import InputRejected
from heedful.loading.documents import Documents

ENOUGH = 16
"""Fewer documents than these are cut into blocks, of which some are held out."""


@dataclass(frozen=True)
class TextSplit:
    """Training texts and held-out texts.

    Attributes:
        training: Texts to learn from.
        held_out: Name and text of each document that is never learnt from.
        notes: What was cut or left out.
        fingerprint: SHA-256 of all texts in their order, whichever side they are on, hexadecimal.
    """

    training: tuple[str, ...]
    held_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    fingerprint: str

    @property
    def held_out_bytes(self) -> int:
        """Length of the held-out text in UTF-8 bytes."""
        return sum(len(text.encode("utf-8", "replace")) for _, text in self.held_out)


def split_documents(documents: Documents, share: float, seed: int) -> TextSplit:
    """Hold out whole documents, chosen by seed.

    Args:
        documents: The documents; of exact copies one is kept. Where they are few, blocks of them stand for documents.
        share: Share that is held out, at least one.
        seed: Seed of the draw.

    Returns:
        Both sides, in the order of the text.

    Raises:
        InputRejected: There is not enough text for two sides.
    """
    named = {text: name for name, text in reversed(list(zip(documents.names, documents.texts, strict=True)))}
    whole = [(name, text) for text, name in reversed(named.items())]
    notes = list(documents.notes)
    if len(whole) < ENOUGH:
        pieces = -(-ENOUGH // len(whole))
        blocks = [block for name, text in whole for block in _blocks(name, text, pieces)]
        notes.append(f"{len(whole)} documents cut into {len(blocks)} blocks; held-out blocks are of the same texts")
        whole = blocks
    out = max(1, round(share * len(whole)))
    if out >= len(whole):
        raise InputRejected(documents.origin, f"{len(whole)} blocks of text, expected at least two", "give more text")
    drawn = set(random.Random(seed).sample(range(len(whole)), out))
    training = tuple(text for index, (_, text) in enumerate(whole) if index not in drawn)
    held_out = tuple(whole[index] for index in sorted(drawn))
    fingerprint = hashlib.sha256(json.dumps(list(named)[::-1]).encode()).hexdigest()
    return TextSplit(training, held_out, tuple(notes), fingerprint)


def _blocks(name: str, text: str, pieces: int) -> list[tuple[str, str]]:
    """A text as consecutive blocks of about equal length, cut behind a paragraph, line or word."""
    bounds = [0]
    for number in range(1, pieces):
        bounds.append(_border(text, max(bounds[-1], number * len(text) // pieces), len(text) // (4 * pieces)))
    blocks = [text[start:stop] for start, stop in zip(bounds, [*bounds[1:], len(text)], strict=True)]
    return [(f"{name} block {number}", block) for number, block in enumerate(blocks, 1) if block.strip()]


def _border(text: str, place: int, reach: int) -> int:
    for mark in ("\n\n", "\n", " "):
        found = text.find(mark, place, place + reach)
        if found >= 0:
            return found + len(mark)
    return place
