"""Write the paragraph that names the cause, from the numbers of an explanation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heedful.ngrams.derivation.embeddings import fingerprint
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import places
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.explanation.record import FirstHead, Geometry, ScaledLayer

UNRELATED = 0.1
"""Correlation of scores with the affinity under which the two have nothing to do with one another."""

COLD, HOT = 0.2, 5.0
"""Factors to the best temperature beyond which attention is called too flat, or too sharp."""

BLIND = 0.25
"""Skill at the best temperature under which the scores do not say where to look."""

POORLY = 0.25
"""Share of the factors' squares from which on what projections do not read is named as a cause."""

KNOWN_PLACES = "joint_pseudo_inverse"
"""The encoder that knows of positions which are added to tokens."""


@dataclass(frozen=True, kw_only=True)
class HeadInputs:
    """Facts about how a model's tokens become queries and keys: norms, positions, encoder error.

    Attributes:
        kept: Whether a fingerprint says that its embeddings are those that the matrices were derived for. A model in
            float32 runs with no others where it has one.
        tokens: Of the vocabulary.
        width: Of the embeddings.
        unread: As ``HeadMatrices.unread``, of the first head; None where its queries and keys are not of counts.
        positions: Mean squared length of the vectors that are added to tokens and that the matrices do not know, over
            that of embeddings; None where there are none.
    """

    kept: bool
    tokens: int
    width: int
    unread: tuple[float, float] | None
    positions: float | None


def reading_of(
    model: HeedfulDerivedForCausalLM, recipe: DerivationRecipe, unread: tuple[float, float] | None
) -> HeadInputs:
    """Return the head inputs of a derived model, read from its config and weights; the model is not run.

    Args:
        model: A derived model.
        recipe: What it was made by.
        unread: What projections of its first head do not give back.
    """
    rows = model.model.embed_tokens.weight.detach().float().cpu().numpy()
    stored, added = model.config.embedding_fingerprint, places(model)
    message = None
    if added is not None and recipe.encoder != KNOWN_PLACES:
        message = float(
            np.square(added).sum(-1).mean() / max(np.square(rows).sum(-1).mean(), np.finfo(np.float32).tiny)
        )
    return HeadInputs(
        kept=stored is not None and stored == fingerprint(rows),
        tokens=len(rows),
        width=rows.shape[1],
        unread=unread,
        positions=message,
    )


def cause_of(
    recipe: DerivationRecipe, layer: ScaledLayer, head: FirstHead, geometry: Geometry, reading: HeadInputs
) -> str:
    """Return the cause that the first head's numbers show, most basic fault first.

    Args:
        recipe: What the model was made by.
        layer: Its first layer.
        head: That layer's first head.
        geometry: Of that head.
        reading: What stands between tokens and its queries and keys.
    """
    now = (
        f"The first layer keeps {layer.share.estimate:.0%} of the entropy that causal rows allow, with logits of "
        f"standard deviation {layer.spread:.3g} in a row. The skill of its first head is {head.skill:.2f}. "
    )
    if recipe.pattern == "offset":
        return now + (
            f"It attends a fixed number of tokens back, {recipe.skip(0)}, whatever the tokens are (pattern=offset): "
            "counts decide what it adds, not where it attends."
        )
    if not geometry.correlation >= UNRELATED:
        return now + (
            f"Its scores have nothing to do with the affinity (correlation {geometry.correlation:.2f}), so no "
            f"scale helps: at the best one the skill is {head.best_skill:.2f}. {_unrelated(recipe, reading)}"
        )
    now += f"Its scores follow the affinity (correlation {geometry.correlation:.2f}). "
    if head.best_skill < BLIND:
        return now + f"Yet even at the best scale its skill is {head.best_skill:.2f}: {_blind(recipe, reading)}"
    return now + _temperature(recipe, head)


def _unrelated(recipe: DerivationRecipe, reading: HeadInputs) -> str:
    """Why scores are not those that were derived."""
    if not reading.kept:
        return (
            "No fingerprint says that the model's embeddings are those that the matrices were derived for, and the "
            "usual reason is that they are not: keep them (kept=embedding)."
        )
    return "The embeddings are those that the matrices were derived for, by their fingerprint." + (
        _poorly_read(recipe, reading) or " Nothing measured here says why."
    )


def _blind(recipe: DerivationRecipe, reading: HeadInputs) -> str:
    """Why scores that follow the affinity do not find what the counts expect."""
    message = _poorly_read(recipe, reading)
    if message:
        return "they follow it from afar." + message
    message = "the affinity, as the query sees it, does not predict what the counts predict."
    if recipe.context(0) > 1:
        message += " A query that reads the current token alone cannot follow longer contexts."
    return message


def _poorly_read(recipe: DerivationRecipe, reading: HeadInputs) -> str:
    """What projections do not read, and what the matrices do not know; empty where there is none of either."""
    message = ""
    if reading.unread is not None and max(reading.unread) >= POORLY:
        query, key = reading.unread
        if max(query, key) <= 1:
            message = (
                f" Projections of embeddings read {1 - query:.0%} of what queries should be and {1 - key:.0%} of keys."
            )
        else:
            message = (
                f" What projections of embeddings give is off by {query:.2g} times the squares of what queries should "
                f"be, {key:.2g} of keys (encoder {recipe.encoder})."
            )
        if reading.tokens > reading.width:
            message += (
                f" {reading.tokens:,} tokens do not fit in a width of {reading.width:,}: derive with --set "
                f"width={1 << reading.tokens.bit_length()}, or count fewer tokens."
            )
    if reading.positions is not None:
        message += (
            f" Positions ({recipe.positions}) are added that the matrices do not know: squared, "
            f"{reading.positions:.2g} times the embeddings."
        )
    return message


def _temperature(recipe: DerivationRecipe, head: FirstHead) -> str:
    """How far the logits' size is from the best, and what no size mends."""
    if head.factor > 1 / COLD:
        now = (
            f"It is too flat because its logits are too small: {head.factor:.3g} times as large, its skill would be "
            f"{head.best_skill:.2f}. Fit the temperature to what is to be attended to (calibration=divergence), "
            "not the deviation of the matrices."
        )
    elif head.factor < 1 / HOT:
        now = (
            f"It is too sharp: {head.factor:.3g} times its logits would have a skill of {head.best_skill:.2f}. "
            "Focus is not agreement: the most attended key is the same at every scale."
        )
    else:
        now = (
            f"Its temperature is near the best, within a factor of {max(head.factor, 1 / head.factor):.2g}: with "
            f"{head.factor:.3g} times its logits its skill would be {head.best_skill:.2f}."
        )
    if recipe.affinity.startswith("log_probability"):
        return now
    return now + (
        " The rest is the affinity's: expected attention is the softmax of log P, and no multiple of "
        f"{recipe.affinity} is."
    )
