"""Run the published derivation at the published scales: as published, and with the embeddings it was derived from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import entr, log_softmax

from heedful.ngrams.derivation.model.deriving import Derived, derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from reproductions.counts.attending import agreement, expectations, layer_logits, published_agreement
from reproductions.counts.rows import Row, rows_of
from reproductions.counts.samples import CountSample

SCALES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PUBLISHED = 0.01
"""Scale of the published model; all nine of its sweep."""

ARMS = {"published": "reinitialised", "kept": "embedding"}
"""Arm to what becomes of the embeddings."""

LENGTH = 256


def made(sample: CountSample, arm: str, std: float | None = PUBLISHED, **changes: object) -> Derived:
    """Derive the published model from one text slice.

    Args:
        sample: The unit.
        arm: A key of ``ARMS``.
        std: Of the matrices; None leaves the logits as the counts gave them.
        changes: Other fields of the recipe.
    """
    scaled: dict[str, object] = {"calibration": "raw"} if std is None else {"target": std, "value_std": std}
    recipe: DerivationRecipe = replace(RECIPES["seed"], kept=ARMS[arm], **{**scaled, **changes})  # type: ignore[arg-type]
    return derive(sample.tables, recipe, sample.documents, LENGTH, sample.seed)


def swept(sample: CountSample) -> list[Row]:
    """Return table rows for every scale of both variants: each measure by layer, and alignment by head."""
    recipe = RECIPES["seed"]
    wanted = {pair: expectations(sample.tables[pair], sample.documents) for pair in _pairs(recipe)}
    rows: list[Row] = []
    for arm in ARMS:
        first = _first_choice(layer_logits(made(sample, arm).model, sample.documents)[0])
        for std in SCALES:
            found = made(sample, arm, std)
            logits = layer_logits(found.model, sample.documents)
            moved = float((_first_choice(logits[0]) != first).mean())
            rows += rows_of("sweep", bare_scores(found, sample) | {"moved": moved}, arm=arm, std=std, layer=0)
            for layer, call in enumerate(logits):
                rows += rows_of("sweep", _shape(call), arm=arm, std=std, layer=layer)
                for head in range(call.shape[1]):
                    expected = wanted[recipe.context(layer), recipe.skip(head)]
                    given = list(call[:, head])
                    measures = agreement(expected, given) | published_agreement(expected, given)
                    rows += rows_of("heads", measures, arm=arm, std=std, layer=layer, head=head)
    return rows


def _pairs(recipe: DerivationRecipe) -> set[tuple[int, int]]:
    layers, heads = range(recipe.layers), range(recipe.heads)
    return {(recipe.context(layer), recipe.skip(head)) for layer in layers for head in heads}


def _first_choice(logits: np.ndarray) -> np.ndarray:
    """Most attended key of every row from the second on."""
    return np.asarray(logits[..., 1:, :].argmax(-1))


def _shape(logits: np.ndarray) -> dict[str, float]:
    """Entropy and largest weight as published, the first row among them, the true share, and the size of logits."""
    logs = log_softmax(logits, axis=-1)
    weights = np.exp(logs)
    entropy = entr(weights).sum(-1)
    ceiling = np.log(np.arange(1, logits.shape[-1] + 1))
    seen = np.isfinite(logits[..., 1:, :])
    return {
        "entropy": entropy.mean(),
        "of_ceiling": entropy.mean() / ceiling.mean(),
        "of_last_row": entropy.mean() / ceiling[-1],
        "largest": weights.max(-1).mean(),
        "logit": np.abs(logits[..., 1:, :][seen]).mean(),
    }


def bare_scores(found: Derived, sample: CountSample) -> dict[str, float]:
    """Return the published score (bare token embeddings, all pairs, unscaled) and the mean query-key cosine."""
    attention = found.model.model.layers[0].attention
    own = slice(0, attention.head_dim)
    query, key = (part.weight.detach()[own].double().numpy().T for part in (attention.q_proj, attention.k_proj))
    query = query * np.sqrt(RECIPES["seed"].head_dim)  # the model's own queries hold the division
    rows = found.model.model.embed_tokens.weight.detach().double().numpy()
    sizes, cosines = [], []
    for tokens in sample.documents:
        q, k = rows[tokens] @ query, rows[tokens] @ key
        scores = q @ k.T
        sizes.append(np.abs(scores).mean())
        cosines.append((scores / (np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(k, axis=1))).mean())
    return {"raw_score": float(np.mean(sizes)), "query_key_cosine": float(np.mean(cosines))}
