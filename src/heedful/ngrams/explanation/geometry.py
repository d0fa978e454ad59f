"""Compare queries and keys of a derived model's first head with the affinity matrix they were computed from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from heedful.evaluation.evidence import Array
from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.decomposition import SMALL
from heedful.ngrams.derivation.factors import FactorReport, factorised
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.derivation.table import NgramTable
from heedful.ngrams.explanation.record import Decomposition, Geometry

if TYPE_CHECKING:
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM

MOST_TOKENS = 2000
"""Tokens, the first of the vocabulary, between which scores are compared with the affinity."""

LEADING = 4

DIAGONAL = 5
"""Diagonal entries of ``W_Q^T W_K`` that are shown."""


def raw_score(model: HeedfulDerivedForCausalLM, layer: int) -> float:
    """Return mean ``|q . k|`` over pairs of bare embeddings in a layer's first head, without norm, positions or scale.

    Args:
        model: A derived model.
        layer: Its layer.
    """
    query, key = _sides(model, model.model.embed_tokens.weight.detach().double()[:MOST_TOKENS], layer)
    return float((query @ key.T).abs().mean())


def geometry_of(model: HeedfulDerivedForCausalLM, table: NgramTable, recipe: DerivationRecipe) -> Geometry:
    """Measure similarity of the first head's queries and keys, and how scores match the affinity matrix.

    Args:
        model: A derived model.
        table: Counts after one token with the first head's skip.
        recipe: What the model was made by.
    """
    rows = model.model.embed_tokens.weight.detach().double()
    wanted = affinity(recipe.affinity, table)
    every = np.arange(min(table.vocabulary, MOST_TOKENS))
    matrix = wanted.at(every, every)
    products = (rows[: len(every)] @ rows[: len(every)].T).numpy()
    apart = products[~np.eye(len(products), dtype=bool)]
    length, width = float((rows.norm(dim=1) ** 2).mean()), rows.shape[1]
    factors = factorised(wanted, recipe.head_dim)
    left, right = (part / np.linalg.norm(part, axis=0) for part in (factors.left, factors.right))
    norm = model.model.layers[0].input_norm
    fed = rows[: len(every)] if norm is None else norm(rows[: len(every)].float()).double()
    query, key = _sides(model, fed, 0)
    correlation, error = _agreement(_centred((query @ key.T).detach().numpy()), _centred(matrix))
    span = _directions(rows.numpy())
    own = _read(model)
    product = own[0].T @ own[1]
    asked, answered = (_directions(part) for part in own)
    beside = [side.T @ rows.numpy() for side in (left, right) if len(side) == len(rows)]
    sizes = np.maximum(np.linalg.norm(rows.numpy(), axis=0), np.finfo(float).tiny)
    cosines = [float(np.abs(one / sizes).max()) for one in beside]
    return Geometry(
        asymmetry=float(np.abs(matrix - matrix.T).max() / np.abs(matrix).max()),
        similarity=(float(apart.mean()), float(apart.std())),
        null=length / math.sqrt(width),
        with_diagonal=(float(products.mean()), float(products.std())),
        diagonal_null=(length / len(products), length * math.sqrt(1 / len(products) + 1 / width)),
        overlap=float(((span.T @ left) ** 2).sum() / left.shape[1]),
        overlap_null=span.shape[1] / len(rows),
        shared=float(((asked.T @ answered) ** 2).sum() / min(asked.shape[1], answered.shape[1])),
        shared_null=max(asked.shape[1], answered.shape[1]) / width,
        coincidence=[float(abs(left[:, place] @ right[:, place])) for place in range(min(LEADING, left.shape[1]))],
        correlation=correlation,
        error=error,
        product=(float(product.mean()), float(np.abs(product).max())),
        product_diagonal=[float(value) for value in product.diagonal()[:DIAGONAL]],
        factor_means=(float(beside[0].mean()), float(beside[1].mean())) if len(beside) == 2 else None,
        factor_largest=(cosines[0], cosines[1]) if len(beside) == 2 else None,
    )


def decomposition_of(table: NgramTable, recipe: DerivationRecipe, report: FactorReport | None) -> Decomposition | None:
    """Return singular values, rank and errors of the first head's decomposed affinity matrix, or None if no matrix was
    decomposed (``report`` is None).

    Args:
        table: Its counts.
        recipe: What the model was made by.
        report: Of the factorisation; None where there was none.
    """
    if report is None:
        return None
    shape = (int(table.counts.shape[0]), table.vocabulary)
    small = max(shape) <= SMALL
    return Decomposition(
        shape=shape,
        density=table.counts.nnz / (shape[0] * shape[1]),
        directions=factorised(affinity(recipe.affinity, table), min(shape)).report.rank if small else None,
        asked=report.asked,
        singular_values=[float(value) for value in report.singular_values],
        condition=report.condition,
        energy=report.energy,
        orthogonality=report.orthogonality,
        residual=report.residual,
        note=report.note,
    )


def _sides(model: HeedfulDerivedForCausalLM, rows: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys of a layer's first head for rows that stand for tokens; of the current token alone."""
    asked, answered = _read(model, layer)
    return rows @ torch.from_numpy(asked), rows @ torch.from_numpy(answered)


def _read(model: HeedfulDerivedForCausalLM, layer: int = 0) -> tuple[Array, Array]:
    """What queries and keys of the first head read of the current token, ``(width, dim)`` each."""
    attention = model.model.layers[layer].attention
    own, width = slice(0, attention.head_dim), model.config.hidden_size
    query = attention.q_proj.weight.detach()[own, :width].double().numpy().T
    return query, attention.k_proj.weight.detach()[own].double().numpy().T


def _directions(columns: Array) -> Array:
    """An orthonormal basis of the columns' span, those of singular value 0 left out."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > values.max(initial=0.0) * 1e-6])


def _centred(rows: Array) -> Array:
    """Rows about their means: what is added to a whole row changes no weight."""
    return np.asarray(rows - rows.mean(-1, keepdims=True))


def _agreement(scores: Array, wanted: Array) -> tuple[float, float]:
    """Correlation of two centred matrices, and what the better multiple of one leaves of the other."""
    product, size, own = float((scores * wanted).sum()), float((scores**2).sum()), float((wanted**2).sum())
    if not size > 0 or not own > 0:
        return math.nan, 1.0
    correlation = product / math.sqrt(size * own)
    return correlation, math.sqrt(max(0.0, 1 - max(correlation, 0.0) ** 2))
