"""Recompute derived attention matrices from stored factors when the embeddings change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import UsageError
from heedful.ngrams.derivation.encoder import encoded, layer_normalised
from heedful.ngrams.derivation.head import HeadMatrices
from heedful.ngrams.derivation.model.attention.corpus_derived import CorpusDerivedAttention
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import places


def keep_factors(attention: CorpusDerivedAttention, heads: Sequence[HeadMatrices]) -> None:
    """Store the factors of a layer's matrices, zero-padded beyond their rank.

    Args:
        attention: A layer of a model whose config names a ``linked_encoder``.
        heads: Its heads.
    """
    for number, head in enumerate(heads):
        for name, room in _factors(attention).named_buffers():
            factor = torch.from_numpy(getattr(head.factors, name)).to(room)
            room[number] = 0.0
            if name == "copied":
                room[number, : len(factor)] = factor
            else:
                room[number, ..., : factor.shape[-1]] = factor


@torch.no_grad()
def relink(model: HeedfulDerivedForCausalLM) -> None:
    r"""Recompute the attention matrices for the current embeddings.

    .. math:: W = \\operatorname{pinv}(X)\\, F

    for each stored factor F, with X what attention is fed for each token, as when the matrices were derived. No
    gradient goes through this: training moves the embeddings by what they do elsewhere.

    Args:
        model: Its config names a ``linked_encoder``.

    Raises:
        UsageError: It keeps no factors.
    """
    config = model.config
    if config.linked_encoder is None:
        raise UsageError("relink: the model keeps no factors (derive it with embeddings that are linked)")
    rows = model.model.embed_tokens.weight.detach().double().cpu().numpy()
    fed = layer_normalised(rows) if config.attention_input == "layer_norm" else rows
    layers = [layer.attention for layer in model.model.layers]
    sides = [_fed_side(attention, rows) for attention in layers]
    # One least-squares problem for all heads and layers: the decomposition of X is what costs.
    solved = encoded(config.linked_encoder, fed, np.concatenate(sides, axis=1), places(model))
    for attention, part in zip(layers, np.split(solved, np.cumsum([s.shape[1] for s in sides])[:-1], 1), strict=True):
        _fill(attention, part)
    if not config.copies:
        encoder = "pseudo_inverse" if config.linked_encoder == "joint_pseudo_inverse" else config.linked_encoder
        for attention in layers:
            output = encoded(encoder, rows, _columns(_factors(attention).output))
            attention.o_proj.weight.copy_(torch.from_numpy(output))


def _factors(attention: CorpusDerivedAttention) -> Any:
    """What a layer keeps; that it keeps something was looked at before."""
    return attention.factors


def _fed_side(attention: CorpusDerivedAttention, rows: np.ndarray) -> np.ndarray:
    """Factors of everything that reads what attention is fed, ``(vocabulary, column)``: queries, keys, values."""
    factors = _factors(attention)
    heads, context, tokens, dim = factors.query.shape
    query = factors.query.permute(2, 1, 0, 3).reshape(tokens, context * heads * dim).double().cpu().numpy()
    if attention.config.copies:
        value = rows @ factors.copied.double().cpu().numpy().reshape(heads * dim, -1).T
    else:
        value = _columns(factors.value)
    return np.concatenate([query, _columns(factors.key), value], axis=1)


def _columns(factor: Tensor) -> np.ndarray:
    """``(head, vocabulary, dim)`` to ``(vocabulary, head * dim)`` float64."""
    found: np.ndarray = factor.transpose(0, 1).flatten(1).double().cpu().numpy()
    return found


def _fill(attention: CorpusDerivedAttention, solved: np.ndarray) -> None:
    """Matrices ``(width, column)`` into the projections: each token of a context has its own stretch of the query."""
    wide = attention.k_proj.weight.shape[0]
    *parts, key, value = np.split(solved, solved.shape[1] // wide, axis=1)
    query = np.concatenate(parts, axis=0)
    for projection, matrix in ((attention.q_proj, query), (attention.k_proj, key), (attention.v_proj, value)):
        projection.weight.copy_(torch.from_numpy(matrix.T))
