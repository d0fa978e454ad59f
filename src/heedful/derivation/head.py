"""The four matrices of one derived head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from heedful.core.errors import UsageError
from heedful.derivation.affinity import Affinity, affinity, probability, stacked
from heedful.derivation.encoder import encoded
from heedful.derivation.factors import FactorReport, Factors, factorised, frequency_weights
from heedful.derivation.recipe import Recipe
from heedful.derivation.table import Table

Tables = Mapping[tuple[int, int], Table]
"""Counts by context length and skip."""


@dataclass(frozen=True)
class Stage:
    """What heads of one model stand on.

    Attributes:
        embedding: ``(vocabulary, width)``.
        fed: ``(vocabulary, width)``: what attention is fed for each token, without its position.
        positions: ``(position, width)`` added to it, or None.
    """

    embedding: np.ndarray
    fed: np.ndarray
    positions: np.ndarray | None = None


@dataclass(frozen=True)
class HeadFactors:
    """What the projections of each token should be: with other embeddings, the matrices follow from them again.

    Attributes:
        query: ``(context, vocabulary, rank)``: of the token itself first, then of those before it.
        key: ``(vocabulary, rank)``.
        value: ``(vocabulary, rank')``; None where values copy embeddings.
        output: ``(vocabulary, rank')``; None where values copy embeddings.
        copied: ``(rank', width)``: directions of the embeddings that are copied; None where values are derived.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray | None = None
    output: np.ndarray | None = None
    copied: np.ndarray | None = None


@dataclass(frozen=True)
class HeadMatrices:
    """Matrices of a head; each reads a row vector from the left.

    Attributes:
        query: ``(context * width, rank)``: the token itself first, then those before it.
        key: ``(width, rank)``.
        value: ``(width, rank')``.
        output: ``(rank', width)``.
        report: Of the factorisation of queries and keys; None where they were not derived.
        value_report: Of that of values; None for a copy.
        factors: What the matrices were computed from; None where they were not derived.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    output: np.ndarray
    report: FactorReport | None = None
    value_report: FactorReport | None = None
    factors: HeadFactors | None = None

    def sharpened(self, factor: float) -> HeadMatrices:
        """With logits multiplied by a factor, shared evenly by queries and keys."""
        return self.scaled(query=np.sqrt(factor), key=np.sqrt(factor))

    def scaled(self, **by: float) -> HeadMatrices:
        """With matrices, and what they were computed from, multiplied by numbers.

        Args:
            by: ``query``, ``key``, ``value`` or ``output``, and its number.
        """
        factors = self.factors
        if factors is not None:
            numbers = {**by, "copied": by.get("value", 1.0)}
            grown = {name: getattr(factors, name) for name in numbers if getattr(factors, name) is not None}
            factors = replace(factors, **{name: matrix * numbers[name] for name, matrix in grown.items()})
        return replace(self, factors=factors, **{name: getattr(self, name) * number for name, number in by.items()})


def derived_head(tables: Tables, recipe: Recipe, stage: Stage, context: int, skip: int) -> HeadMatrices:
    """The matrices of one head, before its logits are calibrated.

    Args:
        tables: Counts, at least those of ``recipe.wanted()``.
        recipe: What is derived how.
        stage: Embeddings.
        context: Tokens of the head's contexts.
        skip: Tokens between a context and the token it speaks of.

    Raises:
        UsageError: Counts that the recipe wants are missing.
    """
    query, key, report, sides = _query_and_key(tables, recipe, stage, context, skip)
    value, output, value_report, values = _value_and_output(tables, recipe, stage, skip)
    factors = HeadFactors(*sides, *values, copied=output if values[0] is None else None)
    return HeadMatrices(query, key, value, output, report, value_report, factors)


def _of(tables: Tables, context: int, skip: int) -> Table:
    if (context, skip) not in tables:
        had = ", ".join(f"n={n} skip={s}" for n, s in sorted(tables))
        raise UsageError(f"the recipe wants counts of n={context} skip={skip}; counted were: {had}")
    return tables[context, skip]


def _factors(matrix: Affinity, weights: tuple[np.ndarray, np.ndarray], recipe: Recipe) -> Factors:
    return factorised(matrix, recipe.head_dim, weights if recipe.factorisation == "frequency" else None)


def _query_and_key(
    tables: Tables, recipe: Recipe, stage: Stage, context: int, skip: int
) -> tuple[np.ndarray, np.ndarray, FactorReport, tuple[np.ndarray, np.ndarray]]:
    reading = _read_by_last_token if recipe.query == "last_token" else _read_by_all_tokens
    left, factors = reading(tables, recipe, context, skip)
    parts = np.stack(np.split(left, len(left) // len(stage.fed)))
    query = np.concatenate([encoded(recipe.encoder, stage.fed, part, stage.positions) for part in parts])
    key = encoded(recipe.encoder, stage.fed, factors.right, stage.positions)
    return query, key, factors.report, (parts, factors.right)


def _read_by_last_token(tables: Tables, recipe: Recipe, context: int, skip: int) -> tuple[np.ndarray, Factors]:
    """One row a token: rows of contexts that end in it, each times the probability of its last token."""
    table = _of(tables, context, skip)
    factors = _factors(affinity(recipe.affinity, table), frequency_weights(table), recipe)
    if context == 1:
        return factors.left, factors
    before = _of(tables, context - 1, 0)
    last = table.contexts[:, -1]
    # Every context was counted within some longer one, so its beginning was counted too.
    rows = before.rows_of(table.contexts[:, :-1].ravel())[context - 2 :: context - 1]
    likelihood = probability(before).stored
    weights = np.where(rows >= 0, likelihood[np.maximum(rows, 0), last], 0.0)
    left = np.zeros((table.vocabulary, factors.left.shape[1]))
    np.add.at(left, last, weights[:, None] * factors.left)
    return left, factors


def _read_by_all_tokens(tables: Tables, recipe: Recipe, context: int, skip: int) -> tuple[np.ndarray, Factors]:
    """One row a token and place: what each token of the context says of the key, added; frequency counted once.

    The token ``back`` places before the query is ``skip + back`` tokens away from what the head speaks of.
    """
    parts = [_of(tables, 1, skip + back) for back in range(context)]
    names = [recipe.affinity] + ["log_ratio"] * (context - 1)
    matrix = stacked([affinity(name, table) for name, table in zip(names, parts, strict=True)])
    weights = [frequency_weights(table) for table in parts]
    rows = np.concatenate([row for row, _ in weights]) / np.sqrt(context)
    factors = _factors(matrix, (rows, weights[0][1]), recipe)
    return factors.left, factors


def _value_and_output(
    tables: Tables, recipe: Recipe, stage: Stage, skip: int
) -> tuple[np.ndarray, np.ndarray, FactorReport | None, tuple[np.ndarray | None, np.ndarray | None]]:
    if recipe.value == "copy":
        directions = np.linalg.svd(stage.embedding - stage.embedding.mean(0), full_matrices=False)[2]
        kept = directions[: recipe.head_dim]
        read = encoded(recipe.encoder, stage.fed, stage.embedding @ kept.T, stage.positions)
        return read, kept, None, (None, None)
    table = _of(tables, 1, skip)
    factors = _factors(affinity(recipe.value, table), frequency_weights(table), recipe)
    value = encoded(recipe.encoder, stage.fed, factors.left, stage.positions)
    encoder = "pseudo_inverse" if recipe.encoder == "joint_pseudo_inverse" else recipe.encoder
    output = encoded(encoder, stage.embedding, factors.right).T
    return value, output, factors.report, (factors.left, factors.right)
