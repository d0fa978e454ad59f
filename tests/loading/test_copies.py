"""Copies of documents count once, and what only looks alike does not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from heedful.loading.copies import distinct
from heedful.loading.documents import load_documents

WORDS = [f"{first}{last}" for first in ("th", "wa", "lo", "be", "gi", "sha", "fo") for last in ("e", "rd", "ne", "t")]


def prose(seed: int, count: int = 300, words: list[str] = WORDS) -> str:
    return " ".join(random.Random(seed).choices(words, k=count))


def some_words_changed(text: str) -> str:
    return " ".join("other" if place % 23 == 7 else word for place, word in enumerate(text.split()))


CHANGES: dict[str, Callable[[str], str]] = {
    "the same": lambda text: text,
    "case": str.title,
    "line ends": lambda text: text.replace(" ", "\n"),
    "a title": lambda text: f"Copy number 17 of the text\n\n{text}",
    "an end": lambda text: text + " " + prose(99, 100),
    "a part": lambda text: " ".join(text.split()[50:230]),
    "words": some_words_changed,
    "halves in another order": lambda text: " ".join(text.split()[150:] + text.split()[:150]),
    "punctuation": lambda text: text.replace("wane", "wane,"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_no_document_however_it_was_changed(change: str) -> None:
    texts = [prose(0), prose(1), CHANGES[change](prose(0)), prose(2)]
    found = distinct(texts)
    assert found.kept == (0, 1, 3)
    assert found.exact + found.near == 1
    assert found.notes[0].startswith("1 of 4 documents dropped as copies of others")


DIFFERENT = {
    "prose": [prose(seed) for seed in range(40)],
    "few words": [prose(seed, 200, ["a", "b", "c"]) for seed in range(40)],
    "two words": [prose(seed, 200, ["0", "1"]) for seed in range(40)],
    "DNA": ["".join(random.Random(seed).choices("ACGT", k=400)) for seed in range(40)],
    "sums": [f"{seed} + {seed * 7 % 13} = {seed + seed * 7 % 13}" for seed in range(40)],
    "numbers": [prose(seed, 300, [str(n) for n in range(100)]) for seed in range(40)],
    "one word": [f"word{seed}" for seed in range(40)],
    "a common opening": [f"{prose(7, 60)} {prose(seed)}" for seed in range(100, 140)],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_texts_that_only_look_alike_are_distinct(kind: str) -> None:
    assert distinct(DIFFERENT[kind]).kept == tuple(range(40))
    assert distinct(DIFFERENT[kind]).notes == []


def test_the_embedded_text_holds_no_copies() -> None:
    documents = load_documents()
    assert len(distinct(documents.texts).kept) == len(documents.texts)


def test_exact_and_near_copies_are_counted_apart() -> None:
    found = distinct([prose(0), prose(0), prose(0).upper(), some_words_changed(prose(0)), prose(1)])
    assert (found.kept, found.exact, found.near) == ((0, 4), 2, 1)
    assert "2 exact, 1 near" in found.notes[0] and distinct([]).kept == ()
