"""Next-token loss of single frozen heads on held-out text. A good attention pattern lowers it only if the values suit
the attended positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from heedful.evaluation.evidence import Array
from heedful.inference.mean_interval import AT_LEAST_0
from heedful.inference.signflip import sign_flip
from heedful.inference.units import document_means
from heedful.ngrams.remedies.effects import FLIPS, effects
from heedful.ngrams.remedies.heads import Head, Likelihood, frequencies, heads_of
from heedful.ngrams.remedies.record import HeadLoss
from heedful.ngrams.remedies.text import Material, Pieces
from heedful.ngrams.remedies.variant import RemedyContext

MOST = 1 - 1e-6
"""Largest share of a head in its mixture with frequencies, which keeps the loss finite."""

BIGRAM = 1
"""Its place among the heads."""


def head_losses(
    material: Material, context: RemedyContext, seeds: Sequence[int]
) -> tuple[list[HeadLoss], dict[str, str]]:
    """Return the loss of each single head, in the order of the page's table, and the reason for each head that can't
    be measured, by name.

    Each head's distribution is mixed with token frequencies, at a share fitted on other pieces of text.

    Args:
        material: Counts and text.
        context: Of the models whose matrices are read.
        seeds: Of their embeddings; losses are means over them.
    """
    heads, skipped = heads_of(material, context, seeds)
    measured = [_losses(head, material) for head in heads]
    values = document_means(np.stack([loss for loss, _ in measured], axis=-1), material.measured.document)
    gains = values[:, BIGRAM : BIGRAM + 1] - values
    losses, message = effects(values, AT_LEAST_0), effects(gains)
    tested = np.delete(np.arange(len(heads)), BIGRAM)
    p = np.full(len(heads), np.nan)
    p[tested] = sign_flip(gains[:, tested], resamples=FLIPS, seed=0).p_adjusted
    rows = [
        HeadLoss(
            name=head.name,
            attends=head.attends,
            takes=head.takes,
            loss=losses[place],
            gain=message[place],
            weight=measured[place][1] if place else float("nan"),
            p=float(p[place]),
        )
        for place, head in enumerate(heads)
    ]
    return rows, skipped


def _losses(head: Head, material: Material) -> tuple[Array, float]:
    """Mean loss of each measured piece ``(sequence,)``, and the share, both means over seeds."""
    frequency = frequencies(material.first)
    base = [frequency[pieces.tokens[:, 2:]] for pieces in (material.fitting, material.measured)]
    losses, shares = [], []
    for likelihood in head.likelihoods:
        share = _share(_of(likelihood, material.fitting), base[0])
        losses.append(-np.log(_mixed(_of(likelihood, material.measured), base[1], share)).mean(-1))
        shares.append(share)
    return np.mean(losses, axis=0), float(np.mean(shares))


def _of(likelihood: Likelihood, pieces: Pieces) -> Array:
    return np.stack([likelihood(tokens) for tokens in pieces.tokens])


def _mixed(head: Array, frequency: Array, share: float) -> Array:
    return share * head + (1 - share) * frequency


def _share(head: Array, frequency: Array) -> float:
    """Share of the head at which the mixture has the least loss, one row more counted of which the head knows nothing.

    Without that row a head that met no surprise would be believed wholly, and its first surprise would be its mean.
    """

    def loss(share: float) -> float:
        return float(-np.log(_mixed(head, frequency, share)).sum() - np.log1p(-share))

    return float(minimize_scalar(loss, bounds=(0.0, MOST), method="bounded", options={"xatol": 1e-6}).x)
