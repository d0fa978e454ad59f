"""Counts, embeddings and sizes that leave nothing to derive: one clear line, or a model and what was lost."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import InputRejected
from heedful.ngrams.derivation.embeddings import embedding
from heedful.ngrams.derivation.encoder import reader
from heedful.ngrams.derivation.model.deriving import Derived, derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.derivation.table import NgramTable

PLAIN = DerivationRecipe(width=16, head_dim=8, inner=0)
ONE_TOKEN = {(1, 0): counted(np.zeros(50, dtype=int))}
EQUAL_ROWS = {(1, 0): NgramTable(np.arange(4)[:, None], sparse.csr_array(np.outer([4.0, 2, 6, 8], [1.0, 2, 1, 6])))}
DOCUMENTS = [np.zeros(8, dtype=int), np.zeros(8, dtype=int)]


def whole(made: Derived) -> bool:
    tokens = torch.zeros(1, 6, dtype=torch.long)
    with torch.no_grad():
        return bool(torch.isfinite(made.model(tokens).logits).all())


def test_a_text_of_one_token_has_nothing_to_look_for() -> None:
    with pytest.raises(InputRejected, match=r"all its entries are 0: .* of more than one token"):
        derive(ONE_TOKEN, PLAIN)
    for name in ("residual", "ppmi"):
        with pytest.raises(InputRejected, match="all its entries are 0"):
            derive(ONE_TOKEN, replace(PLAIN, affinity=name))
    with pytest.raises(InputRejected, match="logits of a derived head are all alike"):
        derive(ONE_TOKEN, replace(PLAIN, affinity="normalised", calibration="logit_sd"), DOCUMENTS)
    made = derive(ONE_TOKEN, replace(RECIPES["seed"], width=16, layers=1, heads=1, longest=1, furthest=0, inner=0))
    assert whole(made) and (made.heads[0][0].report.asked, made.heads[0][0].report.rank) == (64, 1)


@pytest.mark.parametrize("name", ["residual", "ppmi"])
def test_contexts_that_say_nothing_are_no_information_and_not_rounding(name: str) -> None:
    with pytest.raises(InputRejected, match="all its entries are 0"):
        derive(EQUAL_ROWS, replace(PLAIN, affinity=name))


@pytest.mark.parametrize("name", ["normalised", "probability", "log_probability_backoff", "log_ratio"])
def test_fewer_directions_than_asked_for_are_said(name: str) -> None:
    made = derive(EQUAL_ROWS, replace(PLAIN, affinity=name, value="probability"))
    report, value_report = made.heads[0][0].report, made.heads[0][0].value_report
    assert report.rank < report.asked == 8 and value_report.rank == 1
    assert whole(made)


@pytest.mark.parametrize("encoder", ["pseudo_inverse", "frequency_pseudo_inverse"])
def test_embeddings_of_too_few_directions_are_said_by_what_is_not_read(encoder: str) -> None:
    tokens = characters(8_000)
    tables = {(1, 0): counted(tokens)}
    size = tables[1, 0].vocabulary
    few, enough = (
        derive(tables, replace(PLAIN, width=width, head_dim=30, encoder=encoder)) for width in (size // 2, 2 * size)
    )
    assert whole(few) and whole(enough)
    assert max(enough.heads[0][0].unread) < 1e-12
    assert min(few.heads[0][0].unread) > 0.1
    singular = derive(tables, replace(PLAIN, embedding="normalised_factors", width=2 * size, encoder=encoder))
    assert whole(singular) and np.linalg.matrix_rank(singular.embedding) < size


def test_frequent_tokens_are_read_better_where_width_is_short() -> None:
    tables = {(1, 0): counted(characters(8_000))}
    short = replace(PLAIN, width=tables[1, 0].vocabulary // 2, head_dim=30)
    alike, weighed = (
        derive(tables, replace(short, encoder=name)).heads[0][0].unread
        for name in ("pseudo_inverse", "frequency_pseudo_inverse")
    )
    assert weighed[0] < 0.8 * alike[0] and weighed[1] < 0.8 * alike[1]


def test_embeddings_that_are_no_numbers_are_refused() -> None:
    rows = embedding("random_unit", EQUAL_ROWS[1, 0], 6, 0)
    rows[2, 3] = np.nan
    with pytest.raises(InputRejected, match="1 of its rows are not finite, the first is 2"):
        reader("pseudo_inverse", rows)


@pytest.mark.parametrize(
    "words", [{}, {"affinity": "degree_regularised", "value": "log_ratio", "outputs": "orthogonal"}]
)
def test_nothing_has_a_row_and_a_column_for_every_token(words: dict[str, str]) -> None:
    size = 6_000
    rng = np.random.default_rng(0)
    tokens = np.minimum(rng.zipf(1.3, 40_000) - 1, size - 1)
    tables = {(1, 0): counted(tokens, vocabulary=size)}
    tracemalloc.start()
    try:
        derive(tables, replace(PLAIN, width=32, **words), [tokens[:32]])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * size * size / 4
