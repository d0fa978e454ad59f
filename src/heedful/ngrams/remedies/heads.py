"""Single frozen heads, judged by how well they predict the next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.special import log_softmax, logsumexp

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.evidence import Array
from heedful.ngrams.derivation.affinities import log_probability, log_ratio, probability
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.derivation.table import NgramTable
from heedful.ngrams.remedies.variant import Material, RemedyContext

OFFSET_WEIGHTS = (1.0, 0.6, 0.4, 0.3)
"""Of what offsets 0, 1, 2, 3 say: less for those farther away, since neighbours repeat one another."""

Likelihood = Callable[[np.ndarray], Array]
"""One piece's tokens ``(position,)`` to the probability of each next token, ``(position - 2,)``, rows from the second
to the last but one."""

Saying = Callable[[np.ndarray], Array]
"""Tokens ``(position,)`` to logits of what follows each, ``(position, vocabulary)``."""


@dataclass(frozen=True)
class Head:
    """One frozen head, or several whose outputs are added.

    Attributes:
        name: Its word.
        attends: Where it looks.
        takes: What it takes from there.
        likelihoods: One a seed; one alone where nothing in it is random.
    """

    name: str
    attends: str
    takes: str
    likelihoods: Sequence[Likelihood]


def frequencies(table: NgramTable) -> Array:
    """Return token frequencies with add-one smoothing, ``(vocabulary,)``."""
    return np.asarray((table.column_sums + 1) / (table.total + table.vocabulary))


def heads_of(material: Material, context: RemedyContext, seeds: Sequence[int]) -> tuple[list[Head], dict[str, str]]:
    """Return the heads to measure, two baselines first, and why other heads cannot be measured, by name.

    Args:
        material: Counts.
        context: Of the models whose matrices are read.
        seeds: Of their embeddings.
    """
    table, next_of, share = material.first, probability(material.first), frequencies(material.first)
    patterns = {"uniform": _equal, "self": _self, "content": _content(table)}

    def taking(pattern: str, name: str, attends: str, takes: str) -> Head:
        taken = _copied if takes == "copy" else (lambda tokens: next_of.at(tokens, tokens[2:]).T)
        return Head(name, attends, takes, [lambda tokens: (patterns[pattern](tokens) * taken(tokens)).sum(-1)])

    heads = [
        Head("unigram", "nowhere", "frequencies", [lambda tokens: share[tokens[2:]]]),
        Head("bigram", "nowhere", "P straight from the counts", [lambda tokens: _pairs(next_of.stored, tokens)]),
        taking("uniform", "uniform_p", "all keys alike", "P"),
        taking("self", "self_p", "the query itself", "P"),
        taking("content", "content_p", "by log P", "P"),
        taking("uniform", "uniform_copy", "all keys alike", "copy"),
        taking("content", "content_copy", "by log P", "copy"),
    ]
    added, skipped = _offsets(material, context, seeds, share)
    return heads + added, skipped


def _offsets(
    material: Material, context: RemedyContext, seeds: Sequence[int], share: Array
) -> tuple[list[Head], dict[str, str]]:
    """Heads that look back and add log ratios: out of the counts, and out of matrices."""
    most = len(OFFSET_WEIGHTS)
    counted = next((skip for skip in range(most) if (1, skip) not in material.tables), most)
    tables = [material.tables[1, skip] for skip in range(counted)]
    sayings = [_ratio(table) for table in tables]
    found = [Head("offset_0", "the query itself", "log ratios of P", [_added(share, sayings[:1])])]
    if counted < most:
        message = f"counts of n=1 skip={counted} are missing (heedful ngrams count --n 1..2 --skip 0..{most - 1})"
        return found, dict.fromkeys(
            ("offsets_0_to_3", "offsets_in_model", "offsets_few", "offsets_orthogonal"), message
        )
    word, skipped = f"offsets 0 to {most - 1}", {}
    found.append(Head(f"offsets_0_to_{most - 1}", word, "log ratios of P, added", [_added(share, sayings)]))
    few = max(1, min(context.head_dim, material.first.vocabulary // most, context.width // most))
    for name, rank, outputs, message in (
        (
            "offsets_in_model",
            context.head_dim,
            "shared",
            f"through matrices of {context.head_dim} components",
        ),
        ("offsets_few", few, "shared", f"of {few} components"),
        ("offsets_orthogonal", few, "orthogonal", f"of {few} components, outputs in subspaces of their own"),
    ):
        if name == "offsets_few" and few == context.head_dim:
            skipped[name] = f"has {few} components as offsets_in_model does, and is the same"
            continue
        recipe = replace(_model(context), head_dim=rank, outputs=outputs)
        try:
            likelihoods = [_added(share, _sayings(material, recipe, seed)) for seed in seeds]
            found.append(Head(name, word, message, likelihoods))
        except (UsageError, InputRejected) as error:
            skipped[name] = str(error)
    return found, skipped


def _model(context: RemedyContext) -> DerivationRecipe:
    """Its values and outputs alone are read: where heads look is given, so that any number of dimensions will do."""
    most = len(OFFSET_WEIGHTS)
    return replace(RECIPES["offset"], pattern="content", width=context.width, heads=most, furthest=most - 1, inner=0)


def _pairs(stored: object, tokens: np.ndarray) -> Array:
    """Straight from the table, pair by pair."""
    return np.array([stored[a, b] for a, b in pairwise(tokens[1:])])  # type: ignore[index]


def _behind(length: int) -> np.ndarray:
    """Keys that rows from the second to the last but one do not see, ``(row, key)``."""
    return np.triu(np.ones((length, length), dtype=bool), 1)[1:-1]


def _equal(tokens: np.ndarray) -> Array:
    seen = ~_behind(len(tokens))
    return np.asarray(seen / seen.sum(-1, keepdims=True))


def _self(tokens: np.ndarray) -> Array:
    return np.eye(len(tokens))[1:-1]


def _content(table: NgramTable) -> Callable[[np.ndarray], Array]:
    matrix = log_probability(table)

    def weights(tokens: np.ndarray) -> Array:
        logits = np.where(_behind(len(tokens)), -np.inf, matrix.at(tokens[1:-1], tokens))
        return np.exp(log_softmax(logits, axis=-1))

    return weights


def _copied(tokens: np.ndarray) -> Array:
    """1 where a key's token is the next one, ``(row, key)``."""
    return (tokens[2:, None] == tokens[None, :]).astype(float)


def _ratio(table: NgramTable) -> Saying:
    ratio, every = log_ratio(table), np.arange(table.vocabulary)
    return lambda tokens: ratio.at(tokens, every)


def _sayings(material: Material, recipe: DerivationRecipe, seed: int) -> list[Saying]:
    """What heads of a derived model add to the logits of a head tied to its embeddings."""
    made = derive(material.tables, recipe, (), material.measured.tokens.shape[1], seed, shared=material.shared)
    rows = made.embedding

    def saying(place: int) -> Saying:
        head = made.heads[0][place]
        written = head.output @ rows.T
        return lambda tokens: rows[tokens] @ head.value @ written

    return [saying(place) for place in range(recipe.heads)]


def _added(share: Array, sayings: Sequence[Saying]) -> Likelihood:
    """Frequencies times what the token at each offset says beyond them, to the power of its weight."""
    base = np.log(share)

    def likelihood(tokens: np.ndarray) -> Array:
        rows = np.arange(1, len(tokens) - 1)
        logits = np.tile(base, (len(rows), 1))
        for offset, (saying, weight) in enumerate(zip(sayings, OFFSET_WEIGHTS, strict=False)):
            there = rows >= offset
            logits[there] += weight * saying(tokens[rows[there] - offset])
        chosen = logits[np.arange(len(rows)), tokens[2:]]
        return np.asarray(np.exp(chosen - logsumexp(logits, axis=-1)))

    return likelihood
