"""Compare covariances of queries and keys before rotary positions, to test whether attention depends on content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from heedful.evaluation.evidence import Array, LayerEvidence, without_padded_rows
from heedful.evaluation.running import run_model
from heedful.inference.orientation import DRAWS, Orientation, orientation
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.unrotated import NOT_ROTATED, Unrotated
from heedful.loading.batch import Batch

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
    """Add those of one call.

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
