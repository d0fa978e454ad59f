"""Choose the logit scale of derived heads.

Find the temperature at which an affinity agrees best with the attention that counts predict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.affinities import probability
from heedful.ngrams.derivation.encoder import layer_normalised
from heedful.ngrams.derivation.head import HeadMatrices, Stage, Turn
from heedful.ngrams.derivation.recipe import DerivationRecipe, rotated_vectors
from heedful.ngrams.derivation.row_alignment import expected_rows
from heedful.ngrams.derivation.table import NgramTable

PIECE, PIECES = 32, 64
"""Tokens and number of the pieces of text that temperatures are fitted on."""


def short_pieces(documents: Iterable[Sequence[int]]) -> list[np.ndarray]:
    """Return evenly spaced excerpts of the documents for ``calibrated``, ``(position,)`` each.

    Args:
        documents: Token numbers of each document.
    """
    pieces = [ids[start : start + PIECE] for ids in documents for start in range(0, len(ids) - PIECE + 1, PIECE)]
    return [np.array(piece) for piece in pieces[:: max(1, len(pieces) // PIECES)][:PIECES]]


def fed_documents(stage: Stage, recipe: DerivationRecipe, documents: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Return the input of the first attention layer for each document, ``(position, width)`` each.

    Args:
        stage: Embeddings and positions.
        recipe: Says whether a layer norm stands before the attention.
        documents: ``(position,)`` token numbers.
    """
    placed = [
        stage.embedding[tokens] + (0.0 if stage.positions is None else stage.positions[: len(tokens)])
        for tokens in documents
    ]
    return [layer_normalised(rows) for rows in placed] if recipe.attention_input == "layer_norm" else placed


def head_logits(head: HeadMatrices, fed: np.ndarray, turn: Turn | None = None) -> np.ndarray:
    """Return the logits of a document's rows from the second on, ``(position - 1, position)``; -inf for later keys."""
    zeros = np.zeros_like(fed)
    context = len(head.query) // fed.shape[1]
    earlier = [np.concatenate([zeros[:back], fed[: len(fed) - back]]) for back in range(context)]
    query, key = np.concatenate(earlier, axis=1) @ head.query, fed @ head.key
    if turn is not None:
        query, key = rotated_vectors(query, turn), rotated_vectors(key, turn)
    logits = query @ key.T
    behind = np.triu(np.ones(logits.shape, dtype=bool), 1)
    return np.where(behind, -np.inf, logits)[1:]


def calibrated(
    heads: Sequence[HeadMatrices],
    tables: Sequence[NgramTable],
    recipe: DerivationRecipe,
    stage: Stage,
    documents: Sequence[np.ndarray],
    spreads: Sequence[float] = (),
) -> list[HeadMatrices]:
    """Return the heads of one layer with logits scaled as the recipe requests.

    ``std`` treats a layer's heads together and divides logits by the root of the head's dimensions, as published; the
    others treat each head by itself, on what tokens feed to the first layer.

    Args:
        heads: Of one layer.
        tables: What each head's attention is expected from.
        recipe: Says which calibration.
        stage: Embeddings.
        documents: Short pieces of text, ``(position,)`` each, at least two tokens long.
        spreads: Of the logits of a reference model's heads, one a head, for that calibration.

    Raises:
        UsageError: There is no text to calibrate on.
        InputRejected: Logits do not vary, so that no factor gives them a spread.
    """
    heads = [_with_values_of_std(head, heads, recipe) for head in heads]
    if recipe.calibration == "raw":
        return heads
    if recipe.calibration == "std":
        return [_of_std(head, heads, recipe) for head in heads]
    fed = fed_documents(stage, recipe, documents)
    if not fed:
        raise UsageError(f"calibration {recipe.calibration!r} wants text; none came")
    found = []
    for number, (head, table) in enumerate(zip(heads, tables, strict=True)):
        logits = [head_logits(head, rows, stage.turn) for rows in fed]
        if recipe.calibration == "divergence":
            factor = best_temperature(_expected(table, documents), logits)
        else:
            factor = (spreads[number] if recipe.calibration == "reference" else recipe.target) / _spread(logits)
        found.append(head.sharpened(factor))
    return found


def _expected(table: NgramTable, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
    likelihood = probability(table)
    return [expected_rows(table, tokens, np.arange(1, len(tokens)), likelihood) for tokens in documents]


def _spread(logits: Sequence[np.ndarray]) -> float:
    """Mean over rows of the standard deviation over visible keys."""
    rows = [np.nanstd(np.where(np.isfinite(block), block, np.nan), axis=-1) for block in logits]
    spread = float(np.concatenate(rows).mean())
    if not spread > 0:
        raise InputRejected("counts", "the logits of a derived head are all alike", "count a longer text")
    return spread


def _std(matrices: Iterable[np.ndarray]) -> float:
    return float(np.concatenate([matrix.ravel() for matrix in matrices]).std())


def _of_std(head: HeadMatrices, heads: Sequence[HeadMatrices], recipe: DerivationRecipe) -> HeadMatrices:
    query = recipe.target / _std(other.query for other in heads) / np.sqrt(recipe.head_dim)
    return head.scaled(query=query, key=recipe.target / _std(other.key for other in heads))


def _with_values_of_std(head: HeadMatrices, heads: Sequence[HeadMatrices], recipe: DerivationRecipe) -> HeadMatrices:
    if recipe.value_calibration != "std":
        return head
    value = recipe.value_std / _std(other.value for other in heads)
    return head.scaled(value=value, output=recipe.value_std / _std(other.output for other in heads))


RANGE = (-12.0, 12.0)
"""Natural logs between which the factor is sought, on logits whose largest distance within a row is 1."""


def best_temperature(expected: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> float:
    r"""Return the factor ``b`` that minimises ``KL(expected || softmax(b logits))``, which is convex in b.

    Args:
        expected: Blocks ``(row, key)`` of expected weights; rows of NaN are left out.
        logits: Blocks of the same shapes, -inf where a key is not seen.

    Returns:
        The factor; 1 where the logits of every row are alike, and at an end of the range where they carry nothing
        but noise, or the order alone.
    """
    pairs = [(e[ok], z[ok]) for e, z in zip(expected, logits, strict=True) if (ok := ~np.isnan(e).any(-1)).any()]
    size = max((_widest(given) for _, given in pairs), default=0.0)
    if not size > 0:
        return 1.0

    def divergence(log_factor: float) -> float:
        total = 0.0
        for wanted, given in pairs:
            log_weights = log_softmax(np.exp(log_factor) * (given / size), axis=-1)
            total -= float((wanted * np.where(wanted > 0, log_weights, 0.0)).sum())
        return total

    return float(np.exp(minimize_scalar(divergence, bounds=RANGE, method="bounded", options={"xatol": 1e-6}).x)) / size


def _widest(logits: np.ndarray) -> float:
    """Largest distance between two logits of one row."""
    seen = np.isfinite(logits)
    high, low = np.where(seen, logits, -np.inf).max(-1), np.where(seen, logits, np.inf).min(-1)
    return float((high - low).max(initial=0.0))
