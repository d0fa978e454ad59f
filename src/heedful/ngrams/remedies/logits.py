"""Compute the attention logits of a variant on text, from the derived model or from an oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from heedful.evaluation.evidence import Array
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.remedies.given_heads import head_logits
from heedful.ngrams.remedies.text import Material
from heedful.ngrams.remedies.variant import GivenHeads, Variant


def variant_logits(variant: Variant, material: Material, seed: int) -> Callable[[np.ndarray], Array]:
    """Return a function from tokens to the attention logits of a variant.

    Args:
        variant: Which.
        material: Counts, and text that calibrations of its recipe are fitted on.
        seed: Of embeddings, and of whatever is random; of given heads, which of them.

    Returns:
        Tokens ``(sequence, position)`` to logits ``(sequence, row, column)`` of rows from the second on: keys, -inf
        behind the query, and a column more where a given head has a learned sink.

    Raises:
        UsageError: The recipe cannot exist for these counts or this width.
        InputRejected: A matrix has no directions, or its decomposition does not converge; or a given head hides keys.
    """
    source = variant.source
    if isinstance(source, GivenHeads):
        given, layer, head = source.heads[seed]
        return lambda tokens: head_logits(given, tokens, layer, head)
    if not isinstance(source, DerivationRecipe):
        return lambda tokens: _hidden(source(material, tokens, seed))
    model = _model(source, variant.fed, material, seed)
    return lambda tokens: head_logits(model.model, tokens, variant.layer, 0)


def _model(
    recipe: DerivationRecipe, fed: Mapping[str, str], material: Material, seed: int
) -> HeedfulDerivedForCausalLM:
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


def _hidden(logits: Array) -> Array:
    behind = np.triu(np.ones(logits.shape[1:], dtype=bool), 2)
    return np.where(behind, -np.inf, logits)
