"""Logits of one rung on pieces of text: out of the derived model as it runs, or out of an oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from heedful.capture import AttentionEvent, intercept, unwatched
from heedful.derivation.recipe import Recipe
from heedful.engine.points import logits_of
from heedful.models import HeedfulDerivedConfig, HeedfulDerivedForCausalLM
from heedful.models.deriving import derive
from heedful.study.evidence import Array
from heedful.study.remedies.rung import Rung
from heedful.study.remedies.text import Material
from heedful.study.running import evaluating

BATCH = 64
"""Pieces that go through a model together."""


def rung_logits(rung: Rung, material: Material, seed: int) -> Callable[[np.ndarray], Array]:
    """How the rung attends.

    Args:
        rung: Which.
        material: Counts, and text that calibrations of its recipe are fitted on.
        seed: Of embeddings, and of whatever is random.

    Returns:
        Tokens ``(sequence, position)`` to logits ``(sequence, row, position)`` of rows from the second on, -inf behind
        the query.

    Raises:
        UsageError: The recipe cannot exist for these counts or this width.
        InputRejected: A matrix has no directions, or its decomposition does not converge.
    """
    source = rung.source
    if not isinstance(source, Recipe):
        return lambda tokens: _hidden(source(material, tokens, seed))
    model = _model(source, rung.fed, material, seed)
    return lambda tokens: _hidden(_run(model, tokens, rung.layer))


def _model(recipe: Recipe, fed: Mapping[str, str], material: Material, seed: int) -> HeedfulDerivedForCausalLM:
    length = material.measured.tokens.shape[1]
    documents = list(material.fitting.tokens)
    model = derive(
        material.tables, recipe, documents, length, seed, spreads=material.spreads, shared=material.shared
    ).model
    if not fed:
        return model
    config = HeedfulDerivedConfig(**{**model.config.to_dict(), **fed})
    other = HeedfulDerivedForCausalLM(config)
    other.load_state_dict(model.state_dict())
    return other.eval()


def _run(model: HeedfulDerivedForCausalLM, tokens: np.ndarray, layer: int) -> Array:
    """Logits of a layer's first head."""
    calls: dict[str, list[Array]] = {}

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            logits = logits_of(event.call, 1, event.call.n_queries)[:, 0].double().cpu().numpy()
        calls.setdefault(event.path, []).append(np.asarray(logits))

    with evaluating(model), torch.no_grad(), intercept(model, visit):
        for start in range(0, len(tokens), BATCH):
            model.model(torch.from_numpy(tokens[start : start + BATCH]))
    return np.concatenate(list(calls.values())[layer])


def _hidden(logits: Array) -> Array:
    behind = np.triu(np.ones(logits.shape[1:], dtype=bool), 2)
    return np.where(behind, -np.inf, logits)
