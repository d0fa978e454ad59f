"""Measure the count matrix, its factors and the projections built from them, without a model."""

from __future__ import annotations

import numpy as np

from heedful.ngrams.derivation.affinities import affinity, probability
from heedful.ngrams.derivation.embeddings import embedding
from heedful.ngrams.derivation.encoder import encoded
from heedful.ngrams.derivation.factors import factorised
from heedful.ngrams.derivation.recipe import RECIPES
from heedful.ngrams.derivation.table import NgramTable
from reproductions.counts.rows import Row, rows_of
from reproductions.counts.samples import SEED, CountSample

FEW = 10
"""Components, the smallest, that the note compared with embeddings."""

LEADING = 8
"""Components, the largest, whose directions are compared here."""

TENTH = 0.1
CONTEXTS = 400
"""Contexts of two tokens whose embeddings are compared pair by pair."""


def structured(sample: CountSample) -> list[Row]:
    """Return table rows on the first head's matrix, its factors and its projections."""
    table, width = sample.tables[1, 0], RECIPES["seed"].width
    rows = embedding("random_unit", table, width, sample.seed)
    measures = {
        **matrix_numbers(table),
        **projection_numbers(table, rows, sample.seed),
        **score_numbers(table, rows, sample.seed),
        **ngram_numbers(sample.tables[2, 0], table, rows),
    }
    noted = similarities(noted_embedding(table.vocabulary, width))
    return [
        *rows_of("structure", measures | similarities(rows)),
        *rows_of("structure", noted, arm="seed 42"),
    ]


def noted_embedding(vocabulary: int, width: int) -> np.ndarray:
    """Return random unit rows as in the notes: numpy's legacy generator, seed 42."""
    rows = np.random.RandomState(SEED).standard_normal((vocabulary, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def matrix_numbers(table: NgramTable) -> dict[str, float]:
    """Return density, asymmetry and singular values of the normalised matrix; ``_end`` means the smallest kept
    values.
    """
    matrix = _dense(table)
    values = np.linalg.svd(matrix, compute_uv=False)
    report = factorised(affinity("normalised", table), RECIPES["seed"].head_dim).report
    low = report.singular_values[::-1]
    return {
        "density": table.counts.nnz / matrix.size,
        "asymmetry": float(np.abs(matrix - matrix.T).max() / np.abs(matrix).max()),
        "rank": float(np.linalg.matrix_rank(matrix)),
        "kept": report.rank,
        "condition": report.condition,
        "condition_inverted": 1 / report.condition,
        "orthogonality": report.orthogonality,
        "residual": report.residual,
        **{f"singular_{place + 1}": values[place] for place in range(4)},
        **{f"singular_end_{place + 1}": low[place] for place in range(3)},
    }


def similarities(rows: np.ndarray) -> dict[str, float]:
    """Return mean and SD of inner products of embeddings, over all pairs (as published) and over different tokens."""
    products = rows @ rows.T
    apart = products[~np.eye(len(products), dtype=bool)]
    return {
        "similarity_mean": products.mean(),
        "similarity_std": products.std(),
        "apart_mean": apart.mean(),
        "apart_std": apart.std(),
        "apart_null": 1 / np.sqrt(rows.shape[1]),
    }


def projection_numbers(table: NgramTable, rows: np.ndarray, seed: int) -> dict[str, float]:
    """Compare factors with embeddings and query with key projections, by component and in a rotated basis."""
    factors = factorised(affinity("normalised", table), RECIPES["seed"].head_dim)
    left, right = (part / np.linalg.norm(part, axis=0) for part in (factors.left, factors.right))
    query, key = rows.T @ factors.left, rows.T @ factors.right
    product = query.T @ key
    draw = np.random.default_rng(seed)
    random = np.linalg.qr(draw.standard_normal(left.shape))[0]
    turn = np.linalg.qr(draw.standard_normal((query.shape[1],) * 2))[0]
    other_query, other_key = query @ turn, key @ turn
    scores = rows @ query @ key.T @ rows.T
    span = np.linalg.svd(rows, full_matrices=False)[0]
    diagonal = np.diag(product)
    return {
        "left_mean": (left[:, -FEW:].T @ rows).mean(),
        "right_mean": (right[:, -FEW:].T @ rows).mean(),
        "random_mean": (random[:, -FEW:].T @ rows).mean(),
        "left_in_span": float(((span.T @ left) ** 2).sum() / left.shape[1]),
        "frequency_cosine": _cosine(np.sqrt(table.row_sums), np.sqrt(table.column_sums)),
        "leading_overlap": float(((left[:, :LEADING].T @ right[:, :LEADING]) ** 2).sum() / LEADING),
        "leading_chance": LEADING / table.vocabulary,
        "query_std": query.std(),
        "key_std": key.std(),
        "column_cosine": column_cosine(query, key),
        "column_cosine_other_basis": column_cosine(other_query, other_key),
        "scores_moved": float(np.abs(rows @ other_query @ other_key.T @ rows.T - scores).max() / np.abs(scores).max()),
        "product_mean": product.mean(),
        "product_largest": np.abs(product).max(),
        "product_first": diagonal[0],
        "product_end": float(np.abs(diagonal[::-1][:3]).mean()),
    }


def column_cosine(query: np.ndarray, key: np.ndarray) -> float:
    """Return the mean cosine between corresponding columns."""
    return float(((query * key).sum(0) / (np.linalg.norm(query, axis=0) * np.linalg.norm(key, axis=0))).mean())


def score_numbers(table: NgramTable, rows: np.ndarray, seed: int) -> dict[str, float]:
    """Correlate token-to-token scores with the matrix, and measure their size at fixed standard deviation."""
    matrix, width = _dense(table), rows.shape[1]
    factors = factorised(affinity("normalised", table), RECIPES["seed"].head_dim)

    def scores(embedded: np.ndarray, read: np.ndarray, encoder: str = "transpose") -> np.ndarray:
        query, key = (encoded(encoder, read, part) for part in (factors.left, factors.right))
        return np.asarray(embedded @ query @ key.T @ embedded.T)

    own, square = scores(rows, rows), embedding("orthonormal", table, width, seed)
    other = embedding("random_unit", table, width, seed + 10_000)
    orthonormal = scores(square, square)
    equal_left, equal_right = (part / np.linalg.norm(part, axis=0) for part in (factors.left, factors.right))
    size = normalised_size(rows, factors.left, factors.right)
    return {
        "correlation": correlation(own, matrix),
        "correlation_orthonormal": correlation(orthonormal, matrix),
        "correlation_least_squares": correlation(scores(rows, rows, "pseudo_inverse"), matrix),
        "correlation_replaced": correlation(scores(other, rows), matrix),
        "correlation_similarity": correlation(own, rows @ rows.T),
        "spread": _spread(own),
        "spread_orthonormal": _spread(orthonormal),
        "size_ratio_tenth": normalised_size(rows, *(TENTH * part for part in (factors.left, factors.right))) / size,
        "size_ratio_without_values": normalised_size(rows, equal_left, equal_right) / size,
    }


def normalised_size(rows: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    """Return the mean absolute score after both projections are scaled to the published standard deviation."""
    query, key = rows.T @ left, rows.T @ right
    query, key = (part * RECIPES["seed"].target / part.std() for part in (query, key))
    return float(np.abs(rows @ query @ key.T @ rows.T).mean())


def correlation(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Return the correlation of two matrices with centred rows; row offsets don't change attention weights."""
    one, other = (part - part.mean(-1, keepdims=True) for part in (scores, wanted))
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def ngram_numbers(pairs: NgramTable, single: NgramTable, rows: np.ndarray) -> dict[str, float]:
    """Return cosines of the published two-token embeddings, ``P(last | first)`` times the last token's embedding."""
    chosen = pairs.contexts[np.linspace(0, len(pairs.contexts) - 1, CONTEXTS).astype(int)]
    first, last = chosen.T
    likelihood = probability(single).stored.toarray()[first, last]
    found, last = (likelihood[:, None] * rows[last])[likelihood > 0], last[likelihood > 0]
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    products, same = unit @ unit.T, last[:, None] == last[None, :]
    beside = ~np.eye(len(unit), dtype=bool)
    return {
        "ngram_to_token": float((unit * rows[last]).sum(1).mean()),
        "ngram_same_last": float(products[same & beside].mean()),
        "ngram_other_last": float(np.abs(products[~same]).mean()),
    }


def _dense(table: NgramTable) -> np.ndarray:
    every = np.arange(table.vocabulary)
    return affinity("normalised", table).at(every, every)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _spread(scores: np.ndarray) -> float:
    return float(scores.std(-1).mean())
