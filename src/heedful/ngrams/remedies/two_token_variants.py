"""Variants for two-token contexts: how queries get the previous token, and what a first layer contributes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.remedies import oracles
from heedful.ngrams.remedies.variant import RemedyContext, Variant

VALUE_SIZES = {
    "raw": "values of the first layer as they come",
    "residual": "the first layer adds as much as the stream holds",
}
"""Value calibrations that were not published, and what each does."""

PUBLISHED_STD = RECIPES["seed"].value_std
"""Of value and output matrices."""


def two_token_variants(context: RemedyContext) -> list[Variant]:
    """Return variants for two-token contexts, compared with counts of such contexts.

    Args:
        context: What their recipes share.
    """
    made = partial(Variant, group="two tokens", n=2)
    kept = replace(context.published, kept="embedding", shortest=2, longest=2)
    return [
        made(name="uniform_2", change="equal weights", source=oracles.equal),
        made(
            name="last_token_2",
            change="published form, embeddings kept: contexts folded on their last token",
            source=kept,
            against="uniform_2",
        ),
        made(
            name="last_token_2_fitted",
            change="neither positions nor norm, at its best temperature",
            source=replace(context.bare, shortest=2, longest=2),
            against="last_token_2",
            temperature="best",
        ),
        *_published_second_layers(context),
        made(
            name="current_token_2",
            change="log P of the current token alone",
            source=context.log_p,
            against="uniform_2",
        ),
        made(
            name="additive_2",
            change="what the token before says, added, at its best temperature",
            source=replace(context.log_p, shortest=2, longest=2, query="previous_tokens"),
            against="current_token_2",
            temperature="best",
        ),
        *_second_layers_of_log_p(context),
        made(
            name="oracle_2",
            change="log P of whole pairs from the counts as it runs, no matrices",
            source=oracles.counted(2),
            against="additive_2",
        ),
    ]


def _published_second_layers(context: RemedyContext) -> list[Variant]:
    """The published form where it was published, and with other sizes of what its first layer adds."""
    made = partial(Variant, group="two tokens", n=2, layer=1)
    published = replace(
        RECIPES["seed"],
        width=context.width,
        head_dim=context.head_dim,
        layers=2,
        heads=1,
        furthest=0,
        kept="embedding",
    )
    message = "the published form in the second layer, where it was published: values of the first of std .01"
    first = made(name="second_layer_2", change=message, source=published, against="uniform_2")
    return [first, *_other_sizes(first, published, "second")]


def _second_layers_of_log_p(context: RemedyContext) -> list[Variant]:
    """Log P with the token before, in a second layer whose input holds what the first layer's copies add."""
    made = partial(Variant, group="two tokens", n=2, layer=1, temperature="best")
    alone = replace(
        context.log_p,
        longest=2,
        layers=2,
        query="previous_tokens",
        value_calibration="std",
        value_std=PUBLISHED_STD,
    )
    message = "log P and the token before, in a second layer: copies of the first of std .01"
    first = made(name="additive_second_2", change=message, source=alone, against="additive_2")
    return [first, *_other_sizes(first, alone, "additive")]


def _other_sizes(first: Variant, recipe: DerivationRecipe, word: str) -> list[Variant]:
    """The same variant behind values of other sizes."""
    return [
        replace(
            first,
            name=f"{word}_{size}_2",
            change=change,
            source=replace(recipe, value_calibration=size),
            against=first.name,
        )
        for size, change in VALUE_SIZES.items()
    ]
