"""Compare covariances of queries and keys before rotary positions, to test whether attention depends on content.

Score how far a head's queries and keys vary in the same directions, compared with random orientations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from heedful.evaluation.evidence import Array, LayerEvidence, without_padded_rows
from heedful.evaluation.running import run_model
from heedful.inference.multiplicity import holm
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.unrotated import NOT_ROTATED, Unrotated
from heedful.loading.batch import Batch

DRAWS = 1999
"""Random orientations."""

ENOUGH = 10
"""Draws beyond a score from which on their number tells its p; in few dimensions the tail is lighter than a gamma's."""

TOGETHER = 16
"""Heads of one size that are turned together."""

AT_ONCE = 100
"""Rotations that are made together."""

LEAST_DIM = 4
"""Dimensions of a head below which orientations are too few to tell apart."""


@dataclass(frozen=True)
class Orientation:
    """Query-key alignment scores of heads, with p-values against random orientations.

    Attributes:
        score: ``D tr(AB) / (tr A tr B)``, ``(head,)``; 1 on average where orientation is random.
        p: That a random orientation gives as much, ``(head,)``; NaN where undefined.
        p_adjusted: The same by Holm over all heads.
    """

    score: Array
    p: Array
    p_adjusted: Array


def orientation(queries: list[Array], keys: list[Array], *, seed: int, draws: int = DRAWS) -> Orientation:
    r"""Score how far queries vary in the same directions as keys, with p-values, for each head.

    .. math:: T = \frac{D\, \operatorname{tr}(A B)}{\operatorname{tr} A \operatorname{tr} B}, \qquad
              T_r = \frac{D}{\operatorname{tr} A \operatorname{tr} B} \sum_{ij} a_i\, (U^r_{ij})^2\, b_j

    with the covariances A of queries and B of keys, their eigenvalues ``a`` and ``b``, and random rotations U. Query
    and key projections that were drawn independently with a distribution that no rotation changes (Gaussian weights of
    any variance) give T the distribution of :math:`T_r`, whatever enters the layer. Its tail is that of a gamma
    distribution with mean, variance and skewness of the draws, as T is a weighted sum of squares; the adjusted p is
    Holm's over all heads.

    Reading: above 1 queries vary where keys vary, so that content decides where they look; as the null keeps both
    spectra, neither large norms nor few directions raise it. Pitfall: it does not see attention that follows the text
    by means of other terms (biases); after a rotation of positions it is no longer valid.
    Source: weighted sums of squares, Hall 1983, doi:10.1111/j.2517-6161.1983.tb01244.x; measured sizes in
    docs/explanation/nulls.md.

    Args:
        queries: Covariance of each head's queries, ``(D, D)`` each; D may differ between heads.
        keys: The same of the keys that it reads.
        seed: Seed of the rotations.
        draws: Rotations.

    Returns:
        Scores and p; NaN where a covariance is 0 or not finite, D is below ``LEAST_DIM``, or queries are keys.
    """
    heads = len(queries)
    score, p = np.full(heads, np.nan), np.full(heads, np.nan)
    alike: dict[int, list[tuple[int, Array, Array]]] = {}
    for head, (a, b) in enumerate(zip(queries, keys, strict=True)):
        size, dim = float(np.trace(a) * np.trace(b)), len(a)
        if dim < LEAST_DIM or not np.isfinite(size) or not size > 0 or np.allclose(a, b, rtol=1e-4, atol=0):
            continue
        score[head] = dim * float((a * b.T).sum()) / size
        spectra = [np.clip(np.linalg.eigvalsh(one), 0.0, None) * (dim / size) ** 0.5 for one in (a, b)]
        alike.setdefault(dim, []).append((head, *spectra))
    for dim, each in alike.items():
        turned = squared_rotations(dim, draws, seed)
        for some in (each[start : start + TOGETHER] for start in range(0, len(each), TOGETHER)):
            left, right = (np.stack(side) for side in list(zip(*some, strict=True))[1:])
            drawn = np.einsum("rhj,hj->hr", left @ turned, right, optimize=False)
            for (head, *_), own in zip(some, drawn, strict=True):
                p[head] = _tail(score[head], own)
    return Orientation(score, p, np.asarray(holm(p)) if heads else p)


def _tail(score: float, drawn: Array) -> float:
    """Chance of a draw as large as a score: by rank where enough draws are, and by Pearson's type III beyond."""
    from scipy.stats import pearson3

    mean, spread = float(drawn.mean()), float(drawn.std())
    if not spread > 0:
        return 1.0
    skewness = max(float((((drawn - mean) / spread) ** 3).mean()), 0.0)
    tail = float(np.clip(pearson3.sf((score - mean) / spread, skewness), 1e-300, 1.0))
    reached = int((drawn >= score).sum())
    return max(tail, (1.0 + reached) / (1.0 + len(drawn))) if reached >= ENOUGH else tail


@lru_cache(maxsize=4)
def squared_rotations(dim: int, draws: int, seed: int) -> Array:
    """Return the squared entries of random rotation matrices, ``(draw, dim, dim)`` float64.

    Args:
        dim: Dimensions.
        draws: How many.
        seed: Seed.
    """
    random = np.random.default_rng((seed, dim))
    found = np.empty((draws, dim, dim))
    for start in range(0, draws, AT_ONCE):  # one stream of numbers, and little memory for the decompositions
        some = found[start : start + AT_ONCE]
        np.square(np.linalg.qr(random.standard_normal(some.shape))[0], out=some)
    return found


WORDS = f"{DRAWS} random orientations of each head's queries against its keys"
WITHOUT_ROTATION = "nn.MultiheadAttention"


@dataclass
class Covariances:
    """Covariance sums of queries and keys over all sequences, for each attention call.

    Attributes:
        queries: ``(head, dim, dim)``.
        keys: ``(kv_head, dim, dim)``.
        reasons: Why a call has none.
    """

    queries: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, Tensor] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def covariances(model: nn.Module, batches: Sequence[Batch]) -> Covariances:
    """Sum the covariances of queries and keys in every call, after removing position and sequence means.

    What all sequences of a batch share at a position, and what all positions of a sequence share, is taken out of both,
    so that what is left varies with the content. Where positions turn queries and keys (rotary embedding), the vectors
    before the turn are taken; a call whose vectors before the turn are not known has none.

    Args:
        model: The model, in evaluation mode.
        batches: What to run; of two sequences each, at least.
    """
    found, before, current = Covariances(), Unrotated(), list[Batch]()

    def visit(event: AttentionEvent) -> None:
        with unwatched():
            add_covariances(event, current[0], before, found)

    before.begin(model, lambda: True)
    try:
        with torch.no_grad(), intercept(model, visit):
            for batch in batches:
                if len(batch.index) > 1:
                    current[:] = [batch]
                    run_model(model, batch.input_ids, batch.attention_mask)
    finally:
        before.end()
    return found


def add_covariances(event: AttentionEvent, batch: Batch, before: Unrotated, found: Covariances) -> None:
    """Add the query and key covariances of one call to ``found``, or the reason why they are not known.

    Args:
        event: The call.
        batch: What the model runs on, of two sequences at least.
        before: Outputs of its projections, of this forward.
        found: What they are added to.
    """
    call, path = event.call, event.path
    if call.batch != len(batch.index) or call.cross:
        found.reasons.setdefault(path, "its queries and keys do not cover whole sequences")
        return
    query, key = call.query, call.key
    if event.way != WITHOUT_ROTATION:
        pair, why = before.of(event.module, query, key)
        if pair is None and why != NOT_ROTATED:
            found.reasons.setdefault(path, f"whether positions turn its queries and keys is not known: {why}")
            return
        query, key = (query, key) if pair is None else pair
    rows = without_padded_rows(event, batch.at(query.device)).call.visibility.queries
    for sums, vectors in ((found.queries, query), (found.keys, key)):
        centred = _centred(vectors.double(), rows)
        own = torch.einsum("bhtd,bhte->hde", centred, centred)
        sums[path] = sums.get(path, 0.0) + (own if event.part is None else event.part.gathered(own, dim=0))


def _centred(vectors: Tensor, real: Tensor | None) -> Tensor:
    """Vectors ``(batch, head, position, dim)`` less the means of their position and of their sequence."""
    weight = torch.ones_like(vectors[:, :1, :, :1])
    if real is not None and real.shape == (vectors.shape[0], vectors.shape[2]):
        weight = real[:, None, :, None].to(vectors)
    kept = vectors * weight
    by_position = kept.sum(0, keepdim=True) / weight.sum(0, keepdim=True).clamp_min(1)
    rest = (vectors - by_position) * weight
    return (rest - rest.sum(2, keepdim=True) / weight.sum(2, keepdim=True).clamp_min(1)) * weight


def content_orientation(
    model: nn.Module,
    batches: Sequence[Batch],
    layers: Sequence[LayerEvidence],
    seed: int,
    known: Covariances | None = None,
) -> tuple[Orientation | None, str]:
    """Return scores of how well each head's queries align with its keys, with p-values; (None, reason) if they cannot
    be computed.

    Args:
        model: The model, in evaluation mode.
        batches: What is read.
        layers: Layers whose heads are wanted.
        seed: Seed of the rotations.
        known: Covariances of these batches; None runs them once more.
    """
    found = covariances(model, batches) if known is None else known
    queries: list[Array] = []
    keys: list[Array] = []
    for layer in layers:
        if layer.path not in found.queries or len(found.queries[layer.path]) != layer.heads:
            return None, f"{layer.path}: {found.reasons.get(layer.path, 'its queries and keys were not captured')}"
        own, read = (sums[layer.path].cpu().numpy() for sums in (found.queries, found.keys))
        queries += list(own)
        keys += [read[head // (layer.heads // len(read))] for head in range(layer.heads)]
    return orientation(queries, keys, seed=seed), ""
