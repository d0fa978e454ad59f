"""Compute logits of a derived model's heads, and their agreement with the weights that counts predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import log_softmax

from heedful.attention.engines.points import logits_of
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.ngrams.derivation.row_alignment import RowAlignment, expected_rows, row_alignment
from heedful.ngrams.derivation.table import NgramTable

if TYPE_CHECKING:
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM

EPSILON = 1e-10
"""What the published alignment adds to both distributions before it takes logs."""


def layer_logits(model: HeedfulDerivedForCausalLM, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the logits of each layer before the softmax, ``(document, head, row, key)``; -inf for later keys.

    Args:
        model: A derived model in evaluation mode.
        documents: Token numbers, all of one length.
    """
    calls: list[np.ndarray] = []

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            calls.append(logits_of(event.call, 0, event.call.n_queries).double().cpu().numpy())

    with torch.no_grad(), intercept(model, visit):
        model.model(torch.from_numpy(np.stack(documents)))
    return [causal(call) for call in calls]


def causal(logits: np.ndarray) -> np.ndarray:
    """Set the logits of later keys to -inf."""
    behind = np.triu(np.ones(logits.shape[-2:], dtype=bool), 1)
    return np.where(behind, -np.inf, logits)


def content_logits(scores: np.ndarray, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the logits of a head that uses only token identity, ``(row, key)`` for each document.

    Args:
        scores: ``(vocabulary, vocabulary)``, a row a query's token.
        documents: Token numbers.
    """
    return [causal(scores[np.ix_(tokens, tokens)]) for tokens in documents]


def expectations(table: NgramTable, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the weights that the counts predict, ``(row, key)`` for each document, including the first row."""
    return [expected_rows(table, tokens, np.arange(len(tokens))) for tokens in documents]


def agreement(expected: Sequence[np.ndarray], logits: Sequence[np.ndarray], factor: float = 1.0) -> dict[str, float]:
    """Return measures of agreement for one head, averaged over rows after the first, then over documents.

    Args:
        expected: ``(row, key)`` a document.
        logits: The same shapes.
        factor: On the logits.

    Returns:
        ``divergence`` and ``uniform`` in nats; ``cosine`` and ``uniform_cosine``; ``match`` (ties counted) and
        ``chance``; ``entropy_share`` of the causal ceiling; ``skill``, NaN where uniform
        attention is what is expected.
    """
    found: list[dict[str, float]] = []
    for wanted, given in zip(expected, logits, strict=True):
        rows = np.arange(1, len(wanted))
        logs = log_softmax(factor * given[1:], axis=-1)
        one: RowAlignment = row_alignment(wanted[1:], logs, rows)
        even = np.where(np.isfinite(given[1:]), -np.log(rows + 1)[:, None], -np.inf)
        flat = row_alignment(wanted[1:], even, rows)
        entropy = -np.where(np.isfinite(logs), np.exp(logs) * np.where(np.isfinite(logs), logs, 0), 0).sum(-1)
        parts = {
            "divergence": one.divergence,
            "uniform": one.uniform_divergence,
            "cosine": one.cosine,
            "uniform_cosine": flat.cosine,
            "match": one.match,
            "chance": one.uniform_match,
            "entropy_share": entropy / np.log(rows + 1),
        }
        if not np.isnan(one.divergence).all():
            found.append({name: float(np.nanmean(part)) for name, part in parts.items()})
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    least = means["uniform"]
    return means | {"skill": 1 - means["divergence"] / least if least > 0 else math.nan}


def published_agreement(expected: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the note's own measures: the first row counts, only the first of equal keys is correct, log of sums.

    Args:
        expected: ``(row, key)`` a document.
        logits: The same shapes.
    """
    found = []
    for wanted, given in zip(expected, logits, strict=True):
        usable = ~np.isnan(wanted).any(-1)
        e, a = wanted[usable], np.exp(log_softmax(given[usable], axis=-1))
        kl = (e * (np.log(e + EPSILON) - np.log(a + EPSILON))).sum(-1)
        cosine = (e * a).sum(-1) / (np.linalg.norm(e, axis=-1) * np.linalg.norm(a, axis=-1))
        match = e.argmax(-1) == a.argmax(-1)
        found.append([kl.mean(), cosine.mean(), match.mean()])
    names = ("published_divergence", "published_cosine", "published_match")
    return dict(zip(names, (float(value) for value in np.mean(found, axis=0)), strict=True))
