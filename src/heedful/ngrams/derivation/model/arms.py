"""Build the derived model and its controls: learned attention, other initial weights, or no attention.

Recompute derived attention matrices from stored factors when the embeddings change.
"""

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
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.ngrams.derivation.model.deriving import Derived, derived_config, places
from heedful.ngrams.derivation.recipe import DerivationRecipe

ARMS = ("frozen", "trainable", "derived-start", "none", "none-wide")
"""Attention derived and ``frozen``; ``trainable`` from a random start, or from the derived one; ``none``; ``none`` with
the feed-forward widened by as many numbers as attention has."""

EMBEDDINGS = ("frozen", "trainable", "linked")
"""``trainable`` embeddings drift from what the attention was derived for; those that are ``linked`` take it along."""

DERIVED, WITHOUT = ("frozen", "derived-start"), ("none", "none-wide")
"""Arms whose attention begins as derived, and those without any."""

FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim",
    "max_position_embeddings", "positions", "attention_input", "final_norm", "context", "offsets", "initializer_range",
)  # fmt: skip
"""What an arm's config has of the recipe's."""


def arm_config(
    recipe: DerivationRecipe, arm: str, embeddings: str, vocabulary: int, length: int, **words: Any
) -> HeedfulDerivedConfig:
    """Return the config of the derived model or of one of its controls.

    Learnt attention looks where it likes: heads of an ``offset`` recipe, whose place is fixed, have it free there.

    Args:
        recipe: What is derived how.
        arm: One of ``ARMS``.
        embeddings: One of ``EMBEDDINGS``.
        vocabulary: Tokens.
        length: Most tokens of a sequence.
        words: Further fields of the config.

    Raises:
        UsageError: Words or sizes that do not go together.
    """
    for name, word, known in (("arm", arm, ARMS), ("embeddings", embeddings, EMBEDDINGS)):
        if word not in known:
            raise UsageError(f"{name} {word!r}: expected one of {', '.join(known)}")
    if embeddings == "linked" and (arm != "frozen" or recipe.kept != "embedding"):
        message = "only frozen attention that was derived for its embeddings can follow them"
        raise UsageError(f"embeddings 'linked': {message} (give --arm frozen, and kept=embedding in the recipe)")
    if embeddings == "linked" and (recipe.outputs != "shared" or recipe.encoder == "frequency_pseudo_inverse"):
        raise UsageError(
            "embeddings 'linked': matrices are computed again from factors alone, without projections of outputs or "
            f"frequencies; came outputs={recipe.outputs}, encoder={recipe.encoder} "
            "(give outputs=shared and another encoder)"
        )
    try:
        config = derived_config(recipe, vocabulary, length)
        fields = {name: getattr(config, name) for name in FIELDS}
        fields |= {"frozen_attention": arm == "frozen", "frozen_embeddings": embeddings == "frozen"}
        if embeddings == "linked":
            fields |= {"linked_encoder": recipe.encoder, "copies": recipe.value == "copy"}
        if arm == "trainable":
            fields |= {"offsets": None}
        if arm in WITHOUT:
            fields |= {"num_attention_heads": 0, "offsets": None}
        if arm == "none-wide":
            fields |= {"intermediate_size": _widened(config)}
        return HeedfulDerivedConfig(**(fields | words))
    except ValueError as error:
        raise UsageError(f"--set {error}") from error


def _widened(config: HeedfulDerivedConfig) -> int:
    """Feed-forward width that has attention's numbers beside its own, to within half a unit a layer."""
    heads, width = config.num_attention_heads * config.head_dim, config.hidden_size
    numbers = sum((context + 3) * width * heads for context in config.context or ())
    return config.intermediate_size + round(numbers / config.num_hidden_layers / (2 * width + 1))


def arm_model(made: Derived, config: HeedfulDerivedConfig, arm: str, seed: int) -> HeedfulDerivedForCausalLM:
    """Return the derived model or a control; shared parts have equal initial weights.

    Args:
        made: The derived model.
        config: Of the arm, from ``arm_config``.
        arm: One of ``ARMS``.
        seed: Of what is random beyond it.
    """
    if arm in DERIVED:
        config.embedding_fingerprint = made.model.config.embedding_fingerprint
    torch_state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = HeedfulDerivedForCausalLM(config)
    finally:
        torch.set_rng_state(torch_state)
    derived = made.model.state_dict()
    for name, tensor in model.state_dict().items():
        begins_anew = ".attention." in name and arm not in DERIVED
        if not begins_anew and name in derived and derived[name].shape == tensor.shape:
            tensor.copy_(derived[name])
    if config.linked_encoder is not None:
        for layer, heads in zip(model.model.layers, made.heads, strict=True):
            keep_factors(layer.attention, heads)
    return model.eval()


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
