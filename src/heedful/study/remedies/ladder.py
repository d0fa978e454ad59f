"""The rungs of the ladder, in the order in which they are told."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from heedful.derivation.recipe import RECIPES, Recipe
from heedful.study.remedies import oracles
from heedful.study.remedies.input_rungs import input_rungs
from heedful.study.remedies.matrix_rungs import affinity_rungs, rank_rungs, small_width_rungs
from heedful.study.remedies.rung import Ground, Rung

STANDARDS = (0.005, 0.02, 0.05, 0.1)


def rungs(ground: Ground) -> list[Rung]:
    """The whole ladder.

    Args:
        ground: What its recipes share.
    """
    parts = (
        _baselines,
        _published,
        _scales,
        affinity_rungs,
        rank_rungs,
        input_rungs,
        small_width_rungs,
        _two_tokens,
    )
    return [rung for part in parts for rung in part(ground)]


def _baselines(ground: Ground) -> list[Rung]:
    made = partial(Rung, group="baselines")
    return [
        made(name="uniform", change="equal weights", source=oracles.equal),
        made(name="unigram", change="token frequency alone", source=oracles.frequency, against="uniform"),
        made(name="random_logits", change="normal logits of deviation 1", source=oracles.noise, against="uniform"),
    ]


def _published(ground: Ground) -> list[Rung]:
    made, recipe = partial(Rung, group="published"), ground.published
    told = "the published recipe as it ran: embeddings drawn anew after the derivation"
    return [
        made(name="published", change=told, source=recipe, against="uniform"),
        made(
            name="published_fitted",
            change="at its best temperature",
            source=recipe,
            against="published",
            temperature="best",
        ),
        made(
            name="embeddings_kept",
            change="embeddings kept, std .01",
            source=replace(recipe, kept="embedding"),
            against="published",
        ),
    ]


def _scales(ground: Ground) -> list[Rung]:
    made = partial(Rung, group="scale", against="embeddings_kept")
    kept = replace(ground.published, kept="embedding")
    return [
        *(
            made(name=f"std_{std:g}", change=f"matrices of std {std:g}", source=replace(kept, target=std))
            for std in STANDARDS
        ),
        made(
            name="logit_sd_1",
            change="logits of deviation 1",
            source=replace(kept, calibration="logit_sd", target=1.0),
        ),
        made(name="best_temperature", change="temperature of least KL", source=replace(kept, calibration="divergence")),
        made(
            name="like_reference",
            change="logits that spread as those of a trained model's first head",
            source=replace(kept, calibration="reference"),
        ),
        Rung(
            name="bare_input",
            group="scale",
            change="neither positions nor layer norm, temperature of least KL",
            source=replace(ground.bare, calibration="divergence"),
            against="best_temperature",
        ),
    ]


def _two_tokens(ground: Ground) -> list[Rung]:
    made = partial(Rung, group="two tokens", n=2)
    kept = replace(ground.published, kept="embedding", shortest=2, longest=2)
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
            source=replace(ground.bare, shortest=2, longest=2),
            against="last_token_2",
            temperature="best",
        ),
        made(
            name="second_layer_2",
            change="the published form in the second layer, where it was published",
            source=_second_layer(ground),
            against="uniform_2",
            layer=1,
        ),
        made(
            name="current_token_2", change="log P of the current token alone", source=ground.log_p, against="uniform_2"
        ),
        made(
            name="additive_2",
            change="what the token before says, added, at its best temperature",
            source=replace(ground.log_p, shortest=2, longest=2, query="previous_tokens"),
            against="current_token_2",
            temperature="best",
        ),
        made(
            name="oracle_2",
            change="log P of whole pairs from the counts as it runs, no matrices",
            source=oracles.counted(2),
            against="additive_2",
        ),
    ]


def _second_layer(ground: Ground) -> Recipe:
    """The published recipe's first two layers, embeddings kept: the second reads what the first has added to."""
    published = RECIPES["seed"]
    return replace(
        published, width=ground.width, head_dim=ground.head_dim, layers=2, heads=1, furthest=0, kept="embedding"
    )
