"""Copies of documents count once, and what only looks alike does not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from heedful.loading import window_choice
from heedful.loading.documents import load_documents
from heedful.loading.window_choice import choose_windows, distinct


def tokenise(text: str) -> list[int]:
    """One token a word; the word is its number."""
    return [int(word) for word in text.split()]


def numbers(count: int, start: int = 0) -> str:
    return " ".join(str(start + index) for index in range(count))


def choose(texts: list[str], size: int, count: int, seed: int = 0) -> window_choice.Choice:
    return choose_windows([f"d{i}" for i in range(len(texts))], texts, tokenise, size=size, count=count, seed=seed)


def test_each_document_gives_one_window_before_any_gives_two() -> None:
    choice = choose([numbers(50, 1000 * i) for i in range(20)], 10, 20)
    assert set(Counter(choice.sources).values()) == {1} and len(choice.windows) == 20 and not choice.notes
    assert all(len(window) == 10 for window in choice.windows)


def test_windows_are_consecutive_tokens_of_their_document() -> None:
    choice = choose([numbers(50, 1000 * i) for i in range(20)], 10, 60)
    for window, source in zip(choice.windows, choice.sources, strict=True):
        assert window == list(range(window[0], window[0] + 10)) and window[0] // 1000 == int(source[1:])
    assert len({tuple(window) for window in choice.windows}) == 60


def test_neighbours_come_from_different_documents() -> None:
    choice = choose([numbers(100, 1000 * i) for i in range(16)], 10, 64)
    assert all(a != b for a, b in zip(choice.sources, choice.sources[1:], strict=False))


def test_the_seed_decides() -> None:
    texts = [numbers(100, 1000 * i) for i in range(30)]
    assert choose(texts, 10, 9, seed=1) == choose(texts, 10, 9, seed=1) != choose(texts, 10, 9, seed=2)


def test_few_documents_become_blocks_with_a_note() -> None:
    choice = choose([numbers(1000)], 10, 64)
    assert len(set(choice.sources)) == 64 and choice.sources[0].startswith("d0 block ")
    assert "1 document cut into 64 blocks" in choice.notes[0] and "not independent" in choice.notes[0]


def test_blocks_are_consecutive_and_none_is_wasted() -> None:
    choice = choose([numbers(200), numbers(205, 1000)], 10, 100)
    assert len(choice.windows) == 40 and sorted(window[0] for window in choice.windows)[:3] == [0, 10, 20]
    assert "100 windows of 10 tokens asked for, the text holds 40" in choice.notes[-1]


def test_blocks_of_a_long_text_are_spread_over_it() -> None:
    text = " ".join(["7"] * 100_000) + " " + " ".join(["8"] * 100_000)
    choice = choose([text], 4, 64)
    assert 20 < sum(window[0] == 8 for window in choice.windows) < 44


def test_a_long_list_is_tokenised_only_as_far_as_needed() -> None:
    seen = []

    def count(text: str) -> list[int]:
        seen.append(len(text))
        return tokenise(text)

    texts = [numbers(500, 1000 * i) for i in range(5000)]
    choose_windows(["d"] * 5000, texts, count, size=10, count=8, seed=0)
    assert sum(seen) <= 8 * 16 * 10


def test_the_reach_grows_where_most_documents_are_short() -> None:
    choice = choose([numbers(3, i) for i in range(30)] + [numbers(1000)], 10, 50)
    assert len(choice.windows) == 50


def test_no_more_is_scanned_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_choice, "SCANNED_CHARACTERS", 100)
    choice = choose([numbers(3, 10) for i in range(3000)], 10, 50)
    assert len(choice.windows) < 50


def test_documents_without_a_full_window_give_their_longest_pieces() -> None:
    choice = choose([numbers(index % 5 + 1, 100 * index) for index in range(20)], 10, 4)
    assert [len(window) for window in choice.windows] == [5, 5, 5, 5]
    assert "no document holds 10 tokens" in choice.notes[0]


def test_documents_of_one_name_stay_apart() -> None:
    texts = [numbers(50, 1000 * i) for i in range(20)]
    names = ["same"] * 18 + ["same (2)", "other"]
    choice = choose_windows(names, texts, tokenise, size=10, count=20, seed=0)
    assert len(set(choice.sources)) == 20 and "other" in choice.sources


def test_no_tokens_no_windows() -> None:
    assert choose(["", " "], 10, 4).windows == ()


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
