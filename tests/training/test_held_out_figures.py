"""The n-gram rival: sums to one, agrees with counts made by hand and with a brute-force computation."""

import math
import random
from collections import Counter
from itertools import product

import pytest

from heedful.training.held_out_figures import KneserNey, modified_discounts

BEGIN, VOCABULARY = 0, 7


def documents(seed: int = 0, number: int = 40) -> list[list[int]]:
    draw = random.Random(seed)
    return [
        draw.choices(range(1, VOCABULARY - 1), weights=(8, 4, 2, 1, 1), k=draw.randint(1, 12)) for _ in range(number)
    ]


def brute_force(corpus: list[list[int]], order: int, context: tuple[int, ...], token: int) -> float:
    """Chen and Goodman 1999, equation by equation: every count is a fresh scan of the corpus."""
    sequences = [(BEGIN, *document) for document in corpus]

    def occurrences(gram: tuple[int, ...]) -> list[tuple[int, int]]:
        n = len(gram)
        return [(s, i) for s, seq in enumerate(sequences) for i in range(len(seq) - n + 1) if seq[i : i + n] == gram]

    def count(gram: tuple[int, ...]) -> int:
        if gram == (BEGIN,):
            return 0
        if len(gram) == order or gram[0] == BEGIN:
            return len(occurrences(gram))
        return len({sequences[s][i - 1] for s, i in occurrences(gram)})

    def discount(length: int, value: int) -> float:
        if value == 0:
            return 0.0
        tally = Counter(count(gram) for gram in product(range(VOCABULARY), repeat=length))
        return modified_discounts(tally)[min(value, 3) - 1]

    def smoothed(history: tuple[int, ...], word: int) -> float:
        shorter = smoothed(history[1:], word) if history else 1 / VOCABULARY
        counts = [count((*history, other)) for other in range(VOCABULARY)]
        if sum(counts) == 0:
            return shorter
        length = len(history) + 1
        taken = sum(discount(length, value) for value in counts)
        return (max(counts[word] - discount(length, counts[word]), 0) + taken * shorter) / sum(counts)

    return smoothed(context, token)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_probabilities_of_every_context_sum_to_one(order: int) -> None:
    model = KneserNey.fit(documents(), order, VOCABULARY, BEGIN)
    for context in [(), *product(range(VOCABULARY), repeat=2), (1, 1, 2, 1), (BEGIN, 1, 2, 1), (6, 6, 6, 6)]:
        probabilities = [model.probability(token, context) for token in range(VOCABULARY)]
        assert min(probabilities) > 0
        assert math.fsum(probabilities) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_agrees_with_brute_force(order: int) -> None:
    corpus = documents(seed=1, number=12)
    model = KneserNey.fit(corpus, order, VOCABULARY, BEGIN)
    for context in [(1, 2), (BEGIN, 1), (3, 6), (2, 1)][:: 1 if order == 2 else 2]:
        for token in (1, 2, 5, 6):
            expected = brute_force(corpus, order, context[-(order - 1) :], token)
            assert model.probability(token, context) == pytest.approx(expected, rel=1e-12)


def test_bigram_by_hand() -> None:
    """Documents 1 2 and 1 2 1; too few for estimated discounts, so 0.5, 1 and 1.5 are taken off."""
    model = KneserNey.fit([[1, 2], [1, 2, 1]], 2, 4, BEGIN)
    one = (2 - 1.0 + 1.5 / 4) / 3  # seen after begin and after 2; the unigrams reserve 1.0 + 0.5
    two = (1 - 0.5 + 1.5 / 4) / 3  # seen after 1 alone
    assert model.probability(1, ()) == pytest.approx(one)
    assert model.probability(2, ()) == pytest.approx(two)
    assert model.probability(3, ()) == pytest.approx(1.5 / 4 / 3)
    assert model.probability(2, (1,)) == pytest.approx((2 - 1.0 + 1.0 * two) / 2)
    assert model.probability(1, (3,)) == pytest.approx(one)


def test_losses_are_of_each_token_given_its_past() -> None:
    model = KneserNey.fit(documents(), 3, VOCABULARY, BEGIN)
    document = [1, 2, 1, 5]
    contexts = [(BEGIN,), (BEGIN, 1), (1, 2), (2, 1)]
    expected = [-math.log(model.probability(token, past)) for token, past in zip(document, contexts, strict=True)]
    assert model.losses(document) == pytest.approx(expected)


def test_a_longer_memory_helps_where_the_text_has_one() -> None:
    corpus = [[1, 2, 3, 1, 4, 5] * 4 for _ in range(3)]
    losses = [sum(KneserNey.fit(corpus, order, VOCABULARY, BEGIN).losses(corpus[0])) for order in (1, 2, 3)]
    assert losses == sorted(losses, reverse=True)


def test_discounts_follow_the_counts_of_counts() -> None:
    found = modified_discounts(Counter({1: 100, 2: 40, 3: 20, 4: 10}))
    share = 100 / 180
    assert found == pytest.approx((1 - 2 * share * 0.4, 2 - 3 * share * 0.5, 3 - 4 * share * 0.5))
    assert modified_discounts(Counter({1: 3, 2: 1})) == (0.5, 1.0, 1.5)


@pytest.mark.parametrize(("corpus", "order"), [([], 2), ([[]], 2), ([[1]], 0)])
def test_refuses_what_cannot_be_fitted(corpus: list[list[int]], order: int) -> None:
    with pytest.raises(ValueError, match=r"expected at least one|order must be"):
        KneserNey.fit(corpus, order, VOCABULARY, BEGIN)
