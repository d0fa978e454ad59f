"""What frozen heads alone know of the next token: where they look and what they take must belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from heedful.core.remedy import HeadLoss
from heedful.derivation import Table
from heedful.derivation.affinity import log_probability, log_ratio, probability
from heedful.inference import document_means, sign_flip
from heedful.study.evidence import Array
from heedful.study.remedy_effects import FLIPS, effects
from heedful.study.remedy_text import Material, Pieces

OFFSET_WEIGHTS = (1.0, 0.6, 0.4, 0.3)
"""Of what offsets 0, 1, 2, 3 say: less for those farther away, since neighbours repeat one another."""

MOST = 1 - 1e-6
"""Largest share of a head in its mixture with frequencies, which keeps the loss finite."""

Likelihood = Callable[[np.ndarray], Array]
"""One piece's tokens ``(position,)`` to the probability of each next token, ``(position - 2,)``, rows from the second
to the last but one."""


@dataclass(frozen=True)
class _Head:
    name: str
    attends: str
    takes: str
    likelihood: Likelihood


def head_losses(material: Material) -> list[HeadLoss]:
    """Held-out loss of heads alone, in the order of the table: frequencies and bigram first.

    Each head's distribution is mixed with token frequencies, at a share fitted on other pieces of text.

    Args:
        material: Counts and text.
    """
    table = material.first
    frequency = (table.column_sums + 1) / (table.total + table.vocabulary)
    heads = _heads(material, frequency)
    found, shares = [], []
    for head in heads:
        share = _share(_likelihoods(head, material.fitting), frequency[material.fitting.tokens[:, 2:]])
        shares.append(share)
        mixed = _mixed(_likelihoods(head, material.measured), frequency[material.measured.tokens[:, 2:]], share)
        found.append(-np.log(mixed).mean(-1))
    values = document_means(np.stack(found, axis=-1), material.measured.document)
    gains = values[:, 1:2] - values
    losses, told = effects(values), effects(gains)
    tested = np.delete(np.arange(len(heads)), 1)
    p = np.full(len(heads), np.nan)
    p[tested] = sign_flip(gains[:, tested], resamples=FLIPS, seed=0).p_adjusted
    return [
        HeadLoss(
            name=head.name, attends=head.attends, takes=head.takes, loss=losses[place], gain=told[place],
            weight=shares[place] if place else float("nan"), p=float(p[place]),
        )
        for place, head in enumerate(heads)
    ]  # fmt: skip


def _heads(material: Material, frequency: np.ndarray) -> list[_Head]:
    table, next_of = material.first, probability(material.first)
    patterns = {"uniform": _equal, "self": _self, "content": _content(table)}

    def taking(pattern: str, name: str, attends: str, takes: str) -> _Head:
        taken = _copied if takes == "copy" else (lambda tokens: next_of.at(tokens, tokens[2:]).T)
        return _Head(name, attends, takes, lambda tokens: (patterns[pattern](tokens) * taken(tokens)).sum(-1))

    heads = [
        _Head("unigram", "-", "frequencies", lambda tokens: frequency[tokens[2:]]),
        _Head("bigram", "-", "P, from the counts", lambda tokens: _pairs(next_of.stored, tokens)),
        taking("uniform", "uniform_p", "all keys alike", "P"),
        taking("self", "self_p", "the query itself", "P"),
        taking("content", "content_p", "by log P", "P"),
        taking("uniform", "uniform_copy", "all keys alike", "copy"),
        taking("content", "content_copy", "by log P", "copy"),
    ]
    offsets = 0
    while (1, offsets) in material.tables and offsets < len(OFFSET_WEIGHTS):
        offsets += 1
    for count in sorted({1, offsets}):
        tables = [material.tables[1, skip] for skip in range(count)]
        word = "offset 0" if count == 1 else f"offsets 0 to {count - 1}"
        heads.append(_Head(f"offsets_{count}", word, "log P ratio", _added(tables)))
    return heads


def _likelihoods(head: _Head, pieces: Pieces) -> Array:
    return np.stack([head.likelihood(tokens) for tokens in pieces.tokens])


def _pairs(stored: object, tokens: np.ndarray) -> Array:
    """Straight from the table, pair by pair."""
    return np.array([stored[a, b] for a, b in zip(tokens[1:-1], tokens[2:], strict=True)])  # type: ignore[index]


def _behind(length: int) -> np.ndarray:
    """Keys that rows from the second to the last but one do not see, ``(row, key)``."""
    return np.triu(np.ones((length, length), dtype=bool), 1)[1:-1]


def _equal(tokens: np.ndarray) -> Array:
    seen = ~_behind(len(tokens))
    return np.asarray(seen / seen.sum(-1, keepdims=True))


def _self(tokens: np.ndarray) -> Array:
    return np.eye(len(tokens))[1:-1]


def _content(table: Table) -> Callable[[np.ndarray], Array]:
    matrix = log_probability(table)

    def weights(tokens: np.ndarray) -> Array:
        logits = np.where(_behind(len(tokens)), -np.inf, matrix.at(tokens[1:-1], tokens))
        return np.exp(log_softmax(logits, axis=-1))

    return weights


def _copied(tokens: np.ndarray) -> Array:
    """1 where a key's token is the next one, ``(row, key)``."""
    return (tokens[2:, None] == tokens[None, :]).astype(float)


def _added(tables: list[Table]) -> Likelihood:
    """Frequencies times what the token at each offset says beyond them, to the power of its weight."""
    table = tables[0]
    ratios = [log_ratio(one) for one in tables]
    base = np.log((table.column_sums + 1) / (table.total + table.vocabulary))
    every = np.arange(table.vocabulary)

    def likelihood(tokens: np.ndarray) -> Array:
        logits = np.tile(base, (len(tokens) - 2, 1))
        for offset, (ratio, weight) in enumerate(zip(ratios, OFFSET_WEIGHTS, strict=False)):
            said = ratio.at(tokens[: len(tokens) - 1 - offset], every)
            first = max(0, 1 - offset)
            logits[max(0, offset - 1) :] += weight * said[first:]
        chosen = logits[np.arange(len(logits)), tokens[2:]]
        return np.asarray(np.exp(chosen - logsumexp(logits, axis=-1)))

    return likelihood


def _mixed(head: Array, frequency: Array, share: float) -> Array:
    return share * head + (1 - share) * frequency


def _share(head: Array, frequency: Array) -> float:
    """Share of the head at which the mixture has the least loss."""

    def loss(share: float) -> float:
        return float(-np.log(_mixed(head, frequency, share)).mean())

    return float(minimize_scalar(loss, bounds=(0.0, MOST), method="bounded", options={"xatol": 1e-5}).x)
