"""List of the suite's variants, in page order."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from heedful.ngrams.remedies import oracles
from heedful.ngrams.remedies.input_variants import input_variants
from heedful.ngrams.remedies.matrix_variants import affinity_variants, rank_variants, small_width_variants
from heedful.ngrams.remedies.two_token_variants import two_token_variants
from heedful.ngrams.remedies.variant import RemedyContext, Variant

STANDARDS = (0.005, 0.02, 0.05, 0.1)


def ablation_suite(context: RemedyContext) -> list[Variant]:
    """Return all variants of the suite.

    Args:
        context: What its recipes share.
    """
    parts = (
        _baselines,
        _published,
        _scales,
        affinity_variants,
        rank_variants,
        input_variants,
        small_width_variants,
        two_token_variants,
    )
    return [variant for part in parts for variant in part(context)]


def _baselines(context: RemedyContext) -> list[Variant]:
    made = partial(Variant, group="baselines")
    return [
        made(name="uniform", change="equal weights", source=oracles.equal),
        made(name="unigram", change="token frequency alone", source=oracles.frequency, against="uniform"),
        made(name="random_logits", change="normal logits of deviation 1", source=oracles.noise, against="uniform"),
    ]


def _published(context: RemedyContext) -> list[Variant]:
    made, recipe = partial(Variant, group="published"), context.published
    message = "the published recipe as it ran: embeddings drawn anew after the derivation"
    return [
        made(name="published", change=message, source=recipe, against="uniform"),
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


def _scales(context: RemedyContext) -> list[Variant]:
    made = partial(Variant, group="scale", against="embeddings_kept")
    kept = replace(context.published, kept="embedding")
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
        Variant(
            name="bare_input",
            group="scale",
            change="neither positions nor layer norm, temperature of least KL",
            source=replace(context.bare, calibration="divergence"),
            against="best_temperature",
        ),
    ]
