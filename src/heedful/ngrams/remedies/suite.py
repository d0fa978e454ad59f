"""List of the suite's variants, in page order.

Variants that change the attention input: norms, positions, and whether matrices account for positions.

Variants with another affinity matrix, with a lower rank, or with other embeddings.

Variants for two-token contexts: how queries get the previous token, and what a first layer contributes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.remedies import oracles
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


def input_variants(context: RemedyContext) -> list[Variant]:
    """Return the variants of norms and positions.

    Args:
        context: What their recipes share.
    """
    return [*_known_and_unknown(context), *_rotary(context), *_shifts(context)]


def _known_and_unknown(context: RemedyContext) -> list[Variant]:
    made, log_p = partial(Variant, group="input"), context.log_p
    normed = replace(log_p, attention_input="layer_norm")
    placed, waves = (replace(log_p, positions=word) for word in ("learned", "sinusoidal"))
    joint = "joint_pseudo_inverse"
    return [
        made(
            name="wrong_norm",
            change="a layer norm before the attention that pinv(E) does not know",
            source=log_p,
            fed={"attention_input": "layer_norm"},
            against="log_p",
        ),
        made(name="norm_aware", change="pinv(LN(E)) in its place", source=normed, against="wrong_norm"),
        made(name="positions", change="learned positions added, pinv(E)", source=placed, against="log_p"),
        made(
            name="positions_normed",
            change="the same through the layer norm, pinv(LN(E))",
            source=replace(normed, positions="learned"),
            against="positions",
        ),
        made(
            name="positions_joint",
            change="pinv of tokens and positions together",
            source=replace(placed, encoder=joint),
            against="positions",
        ),
        made(name="sinusoids", change="sinusoids added, pinv(E)", source=waves, against="log_p"),
        made(
            name="sinusoids_joint",
            change="pinv of tokens and sinusoids together",
            source=replace(waves, encoder=joint),
            against="sinusoids",
        ),
    ]


def _rotary(context: RemedyContext) -> list[Variant]:
    made = partial(Variant, group="input", temperature="best")
    turning = replace(context.bare, positions="rotary", order="largest_fastest")
    return [
        made(
            name="rotary",
            change="rotary positions, leading components on the fastest pairs",
            source=turning,
            against="bare_input",
        ),
        made(
            name="rotary_reversed",
            change="leading components on the slowest pairs",
            source=replace(turning, order="largest_slowest"),
            against="rotary",
        ),
    ]


def _shifts(context: RemedyContext) -> list[Variant]:
    """The published correction for positions, with them and without."""
    made = partial(Variant, group="input", temperature="best")
    waves = replace(context.bare, positions="sinusoidal")
    taken = replace(waves, subtracted="position_shift")
    return [
        made(
            name="shift_taken_bare",
            change="M less the published shift of positions, none added",
            source=taken,
            fed={"positions": "none"},
            against="bare_input",
        ),
        made(
            name="sinusoids_m",
            change="M, sinusoids added before the layer norm",
            source=replace(waves, attention_input="layer_norm"),
            against="bare_input",
        ),
        made(
            name="shift_taken",
            change="M less the published shift, sinusoids added before the layer norm",
            source=replace(taken, attention_input="layer_norm"),
            against="sinusoids_m",
        ),
    ]


PLAIN_RANKS = (8, 16, 32, 64)
WEIGHTED_RANKS = (4, 8, 16, 32, 64)
SMALL_WIDTHS = (16, 32, 64)

ENCODERS = {"transpose": "transpose", "pinv": "pseudo_inverse", "weighted": "frequency_pseudo_inverse"}
"""Word of a variant of small width to its encoder."""


def affinity_variants(context: RemedyContext) -> list[Variant]:
    """Return variants that replace the normalised count matrix by another affinity matrix.

    Args:
        context: What their recipes share.
    """
    exact = context.exact
    fitted = partial(Variant, group="affinity", temperature="best")
    as_it_is = partial(Variant, group="affinity")
    rows = replace(exact, embedding="orthonormal", encoder="transpose")
    other = {
        "residual": ("M without its first component", "residual", "exact_m"),
        "degree_regularised": ("M with degrees regularised", "degree_regularised", "exact_m"),
        "probability": ("P in place of M", "probability", "exact_m"),
        "sqrt_probability": ("root of P", "sqrt_probability", "probability"),
        "pmi": ("mutual information", "pmi", "exact_m"),
        "ppmi": ("positive mutual information", "ppmi", "exact_m"),
    }
    message = "least squares in place of the transpose, every component"
    both = replace(context.bare, affinity="symmetrised")
    backed = replace(context.log_p, affinity="log_probability_backoff")
    oracle = oracles.counted(1)
    return [
        fitted(name="exact_m", change=message, source=exact, against="bare_input"),
        fitted(name="orthonormal_m", change="orthonormal embeddings, transpose", source=rows, against="exact_m"),
        fitted(name="symmetrised", change="(M + M^T)/2", source=both, against="bare_input"),
        fitted(
            name="symmetrised_exact",
            change="(M + M^T)/2, exact",
            source=replace(exact, affinity="symmetrised"),
            against="exact_m",
        ),
        *(
            fitted(name=name, change=change, source=replace(exact, affinity=matrix), against=against)
            for name, (change, matrix, against) in other.items()
        ),
        as_it_is(name="log_p", change="log P, a count added to every pair", source=context.log_p, against="exact_m"),
        as_it_is(
            name="log_p_backoff",
            change="log P, a count a context spread by frequency",
            source=backed,
            against="log_p",
        ),
        as_it_is(
            name="log_p_oracle",
            change="the same from the counts as it runs, no matrices",
            source=oracle,
            against="log_p_backoff",
        ),
    ]


def rank_variants(context: RemedyContext) -> list[Variant]:
    """Return variants that keep only some components of the matrix ``log P(token | context)``.

    Args:
        context: What their recipes share.
    """
    made = partial(Variant, group="rank")
    most = min(context.vocabulary, context.width)
    plain = [rank for rank in PLAIN_RANKS if rank <= most]

    def truncated(rank: int, factorisation: str) -> DerivationRecipe:
        return replace(context.log_p, head_dim=rank, factorisation=factorisation)

    return [
        *(
            made(
                name=f"log_p_rank_{rank}",
                change=f"{rank} components of log P",
                source=truncated(rank, "plain"),
                against="log_p",
            )
            for rank in plain
        ),
        *(
            made(
                name=f"log_p_weighted_{rank}",
                change=f"{rank} components, errors weighed by frequency",
                source=truncated(rank, "frequency"),
                against=f"log_p_rank_{rank}" if rank in plain else "log_p",
            )
            for rank in WEIGHTED_RANKS
            if rank <= most
        ),
    ]


def small_width_variants(context: RemedyContext) -> list[Variant]:
    """Return variants with embeddings narrower than the vocabulary, and with other encoders.

    Args:
        context: What their recipes share.
    """
    return [variant for width in SMALL_WIDTHS for variant in _of_width(context, width)]


def _of_width(context: RemedyContext, width: int) -> list[Variant]:
    small = replace(context.bare, width=width)
    halves = replace(small, head_dim=width // 2)
    log_p = replace(halves, embedding="log_probability_factors", affinity="log_probability", factorisation="frequency")
    rows = {
        "random": (small, "random embeddings"),
        "ppmi": (replace(small, embedding="ppmi_vectors"), "PPMI embeddings"),
        "m": (replace(halves, embedding="normalised_factors"), "factors of M as embeddings"),
        "log_p": (log_p, "weighted factors of log P as embeddings"),
    }
    return [
        Variant(
            name=f"{stem}_{word}_{width}",
            group="small width",
            change=f"{message}, width {width}, {word}",
            source=replace(recipe, encoder=encoder),
            against=_null_comparison(stem, word, width),
            temperature="best",
        )
        for stem, (recipe, message) in rows.items()
        for word, encoder in ENCODERS.items()
        if stem == "random" or word != "weighted"
    ]


def _null_comparison(stem: str, word: str, width: int) -> str:
    if stem != "random":
        return f"random_{word}_{width}"
    return {"transpose": "", "pinv": f"random_transpose_{width}", "weighted": f"random_pinv_{width}"}[word]


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
