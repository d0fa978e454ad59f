r"""Compute the four matrices (query, key, value, output) of one derived head.

Subtract from an affinity matrix the scores that position vectors will add, before factorisation.

.. math:: M - E G_k E^\top, \qquad G_k = \frac1{T - k} \sum_i p_{i+k} p_i^\top

A published correction for positions that are added to tokens. It is here to be measured, and it loses: the affinity was
counted without positions, so there is nothing in it to take away, and what is taken is several times as large as what
was there. Where positions disturb scores is in the projections; ``joint_pseudo_inverse`` makes those blind to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import Affinity, affinity, probability, stacked
from heedful.ngrams.derivation.encoder import Reader, unread
from heedful.ngrams.derivation.factors import FactorReport, Factors, SharedFactors, Weights, digest, frequency_weights
from heedful.ngrams.derivation.recipe import DerivationRecipe, arranged
from heedful.ngrams.derivation.table import NgramTable

Tables = Mapping[tuple[int, int], NgramTable]
"""Counts by context length and skip."""


Turn = tuple[np.ndarray, np.ndarray]
"""Cosines and sines of rotary positions, ``(position, dim)`` each."""


@dataclass(frozen=True)
class Stage:
    """Embeddings, positions and encoders shared by all heads of a model.

    Attributes:
        embedding: ``(vocabulary, width)``.
        fed: ``(vocabulary, width)``: what attention is fed for each token, without its position.
        positions: ``(position, width)`` added to it, or None.
        turn: Rotations of queries and keys, or None.
        encoder: A key of ``ENCODERS``.
        frequency: ``(vocabulary,)``: how often each token occurs, all positive; None where all are alike.
        shared: Decompositions that other derivations worked out.
    """

    embedding: np.ndarray
    fed: np.ndarray
    positions: np.ndarray | None = None
    turn: Turn | None = None
    encoder: str = "pseudo_inverse"
    frequency: np.ndarray | None = None
    shared: SharedFactors = field(default_factory=SharedFactors)

    @cached_property
    def reading(self) -> Reader:
        """Function that maps query, key or value factors to projections which act on the attention input."""
        return self.shared.reading(self.encoder, self.fed, self.positions, self.frequency)

    @cached_property
    def writing(self) -> Reader:
        """Function that maps factors to projections which act on the token embeddings; an output matrix is the
        transpose of such a projection.
        """
        name = "pseudo_inverse" if self.encoder == "joint_pseudo_inverse" else self.encoder
        return self.shared.reading(name, self.embedding, None, self.frequency)

    @cached_property
    def directions(self) -> np.ndarray:
        """Principal directions of the embeddings, largest first, ``(width or fewer, width)``."""
        centred = self.embedding - self.embedding.mean(0)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        return vectors[:, ::-1].T[values[::-1] > values[-1] * len(values) * np.finfo(np.float64).eps]

    def unread(self, projection: np.ndarray, factor: np.ndarray) -> float:
        """Return how much of ``factor`` a projection of the attention input does not give back (relative squared
        error).
        """
        frequency = np.ones(len(self.fed)) if self.frequency is None else self.frequency
        return unread(self.fed, projection, factor, frequency)


@dataclass(frozen=True)
class HeadFactors:
    """Vectors that each token's query, key, value and output should have; a head's matrices are computed from them.

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
    """Query, key, value and output matrix of a head; each multiplies a row vector from the right.

    Attributes:
        query: ``(context * width, rank)``: the token itself first, then those before it.
        key: ``(width, rank)``.
        value: ``(width, rank')``.
        output: ``(rank', width)``.
        report: Of the factorisation of queries and keys; None where they were not derived.
        value_report: Of that of values; None for a copy.
        factors: What the matrices were computed from; None where they were not derived.
        unread: Shares of the squares of query and key factors, weighed with frequency, that reading what the attention
            is fed does not give back: 0 where tokens are independent, more where they are more than the width.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    output: np.ndarray
    report: FactorReport | None = None
    value_report: FactorReport | None = None
    factors: HeadFactors | None = None
    unread: tuple[float, float] | None = None

    @property
    def output_directions(self) -> int:
        """Number of residual-stream directions that the head can write to."""
        return int(np.linalg.matrix_rank(self.output)) if self.output.size else 0

    def sharpened(self, factor: float) -> HeadMatrices:
        """Return the head with logits multiplied by ``factor``, split evenly between queries and keys."""
        return self.scaled(query=np.sqrt(factor), key=np.sqrt(factor))

    def scaled(self, **by: float) -> HeadMatrices:
        """Return the head with each named matrix, and the factors stored for it, multiplied by the given number.

        Args:
            by: ``query``, ``key``, ``value`` or ``output``, and its number.
        """
        factors = self.factors
        if factors is not None:
            numbers = {**by, "copied": by.get("value", 1.0)}
            grown = {name: getattr(factors, name) for name in numbers if getattr(factors, name) is not None}
            factors = replace(factors, **{name: matrix * numbers[name] for name, matrix in grown.items()})
        return replace(self, factors=factors, **{name: getattr(self, name) * number for name, number in by.items()})


def derived_head(tables: Tables, recipe: DerivationRecipe, stage: Stage, context: int, skip: int) -> HeadMatrices:
    """Return the matrices of one head, before its logits are calibrated.

    Args:
        tables: Counts, at least those of ``recipe.wanted()``.
        recipe: What is derived how.
        stage: Embeddings.
        context: Tokens of the head's contexts.
        skip: Tokens between a context and the token it speaks of.

    Raises:
        UsageError: Counts that the recipe wants are missing.
    """
    head, sides = _query_and_key(tables, recipe, stage, context, skip)
    value, output, value_report, values = _value_and_output(tables, recipe, stage, skip)
    copied = output if recipe.value == "copy" else None
    factors = replace(sides, value=values[0], output=values[1], copied=copied)
    return replace(head, value=value, output=output, value_report=value_report, factors=factors)


def _of(tables: Tables, context: int, skip: int) -> NgramTable:
    if (context, skip) not in tables:
        had = ", ".join(f"n={n} skip={s}" for n, s in sorted(tables))
        raise UsageError(f"the recipe wants counts of n={context} skip={skip}; counted were: {had}")
    return tables[context, skip]


def _factors(
    name: str, tables: Sequence[NgramTable], matrix: Affinity, weights: Weights, recipe: DerivationRecipe, stage: Stage
) -> Factors:
    chosen = weights if recipe.factorisation == "frequency" else None
    if recipe.subtracted != "nothing":  # what was taken depends on these embeddings and positions
        name = f"{name} {recipe.subtracted} {digest(stage.embedding)!r} {digest(stage.positions)!r}"
    return stage.shared.factors(name, tables, matrix, recipe.head_dim, chosen)


def _query_and_key(
    tables: Tables, recipe: DerivationRecipe, stage: Stage, context: int, skip: int
) -> tuple[HeadMatrices, HeadFactors]:
    """A head whose values are still empty, and what its queries and keys were computed from."""
    finding = _read_by_last_token if recipe.query == "last_token" else _read_by_all_tokens
    left, factors = finding(tables, recipe, stage, context, skip)
    parts = np.split(left, len(left) // len(stage.fed))
    queries, key = [stage.reading(part) for part in parts], stage.reading(factors.right)
    lost = stage.unread(queries[0], parts[0]), stage.unread(key, factors.right)
    query = np.concatenate(queries)
    sides = HeadFactors(np.stack(parts), factors.right)
    if stage.turn is not None:
        dim = stage.turn[0].shape[1]
        query, key = (arranged(recipe.order, side, dim) for side in (query, key))
        sides = HeadFactors(
            np.stack([arranged(recipe.order, part, dim) for part in parts]),
            arranged(recipe.order, factors.right, dim),
        )
    nothing = np.zeros((stage.fed.shape[1], 0))
    return HeadMatrices(query, key, nothing, nothing.T, factors.report, unread=lost), sides


def _shiftless(
    matrix: Affinity, recipe: DerivationRecipe, stage: Stage, contexts: np.ndarray, distance: int
) -> Affinity:
    if recipe.subtracted == "nothing":
        return matrix
    if stage.positions is None:
        raise UsageError("subtracted 'position_shift' wants the position vectors that are added")
    return without_position_shift(matrix, contexts, stage.embedding, stage.positions, distance)


def _read_by_last_token(
    tables: Tables, recipe: DerivationRecipe, stage: Stage, context: int, skip: int
) -> tuple[np.ndarray, Factors]:
    """One row a token: rows of contexts that end in it, each times the probability of its last token."""
    table = _of(tables, context, skip)
    last, weights = table.contexts[:, -1], np.ones(len(table.contexts))
    if context > 1:
        before = _of(tables, context - 1, 0)
        # Every context was counted within some longer one, so its beginning was counted too.
        rows = before.rows_of(table.contexts[:, :-1].ravel())[context - 2 :: context - 1]
        likelihood = probability(before).stored
        weights = np.where(rows >= 0, likelihood[np.maximum(rows, 0), last], 0.0)
    matrix = affinity(recipe.affinity, table)
    if recipe.subtracted != "nothing":
        matrix = _shiftless(matrix, recipe, stage, weights[:, None] * stage.embedding[last], context + skip)
    factors = _factors(recipe.affinity, [table], matrix, frequency_weights(table), recipe, stage)
    if context == 1:
        return factors.left, factors
    left = np.zeros((table.vocabulary, factors.left.shape[1]))
    np.add.at(left, last, weights[:, None] * factors.left)
    return left, factors


def _read_by_all_tokens(
    tables: Tables, recipe: DerivationRecipe, stage: Stage, context: int, skip: int
) -> tuple[np.ndarray, Factors]:
    """One row a token and place: what each token of the context says of the key, added; frequency counted once.

    The token ``back`` places before the query is ``skip + back`` tokens away from what the head speaks of. A table of
    whole n-grams cannot be had so: no projection of tokens holds what only their combination says (``oracle``).
    """
    parts = [_of(tables, 1, skip + back) for back in range(context)]
    names = [recipe.affinity] + ["log_ratio"] * (context - 1)
    matrices = [
        _shiftless(affinity(name, table), recipe, stage, stage.embedding, 1 + table.skip)
        for name, table in zip(names, parts, strict=True)
    ]
    weights = [frequency_weights(table) for table in parts]
    rows = np.concatenate([row for row, _ in weights]) / np.sqrt(context)
    factors = _factors("+".join(names), parts, stacked(matrices), (rows, weights[0][1]), recipe, stage)
    return factors.left, factors


def _value_and_output(
    tables: Tables, recipe: DerivationRecipe, stage: Stage, skip: int
) -> tuple[np.ndarray, np.ndarray, FactorReport | None, tuple[np.ndarray | None, np.ndarray | None]]:
    if recipe.value == "copy":
        kept = stage.directions[: recipe.head_dim]
        return stage.reading(stage.embedding @ kept.T), kept, None, (None, None)
    table = _of(tables, 1, skip)
    weights = frequency_weights(table) if recipe.factorisation == "frequency" else None
    factors = stage.shared.factors(recipe.value, [table], affinity(recipe.value, table), recipe.head_dim, weights)
    value, output = stage.reading(factors.left), stage.writing(factors.right).T
    return value, output, factors.report, (factors.left, factors.right)


def position_shift(positions: np.ndarray, distance: int) -> np.ndarray:
    """Return the mean outer product of position vectors ``distance`` apart, ``(width, width)``.

    Args:
        positions: ``(position, width)``.
        distance: Tokens between the two, at least 0.

    Raises:
        UsageError: There are not that many positions.
    """
    if not 0 <= distance < len(positions):
        raise UsageError(f"a shift of {distance} tokens wants more positions than that; there are {len(positions)}")
    return positions[distance:].T @ positions[: len(positions) - distance] / (len(positions) - distance)


def without_position_shift(
    matrix: Affinity, contexts: np.ndarray, tokens: np.ndarray, positions: np.ndarray, distance: int
) -> Affinity:
    """Return the affinity minus the scores from positions ``distance`` apart, as sparse plus low-rank.

    Args:
        matrix: Contexts by tokens.
        contexts: ``(context, width)``: the embedding of each context.
        tokens: ``(vocabulary, width)``: that of each token.
        positions: ``(position, width)``.
        distance: Tokens between a context's end and what it speaks of.
    """
    taken = -(contexts @ position_shift(positions, distance))
    return Affinity(
        matrix.stored,
        np.concatenate([matrix.left, taken], axis=1),
        np.concatenate([matrix.right, tokens], axis=1),
    )
