"""Variants with another affinity matrix, with a lower rank, or with other embeddings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.remedies import oracles
from heedful.ngrams.remedies.variant import RemedyContext, Variant

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
