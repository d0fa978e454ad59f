from collections import Counter

import pytest

from heedful.loading import window_choice
from heedful.loading.window_choice import choose_windows


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
