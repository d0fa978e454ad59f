"""Covariances of queries and keys, before positions turn them: whether content decides where a head looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from heedful.evaluation.evidence import Array, without_padded_rows
from heedful.evaluation.null_comparison import NullComparison, untrained
from heedful.evaluation.running import run_model
from heedful.inference.orientation import DRAWS, Orientation, orientation
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.unrotated import NOT_ROTATED, Unrotated
from heedful.loading.batch import Batch

if TYPE_CHECKING:
    from heedful.evaluation.study import Study

WORDS = f"{DRAWS} random orientations of each head's queries against its keys"
WITHOUT_ROTATION = "nn.MultiheadAttention"


@dataclass
class Covariances:
    """Sums over sequences, by path of the call.

    Attributes:
        queries: ``(head, dim, dim)``.
        keys: ``(kv_head, dim, dim)``.
        reasons: Why a call has none.
    """

    queries: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, Tensor] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def covariances(model: nn.Module, batches: Sequence[Batch]) -> Covariances:
    """Covariances of queries and keys of every call, positions and sequences taken out.

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
            _add(event, current[0], before, found)

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


def _add(event: AttentionEvent, batch: Batch, before: Unrotated, found: Covariances) -> None:
    call, path = event.call, event.path
    if call.batch != len(batch.index) or event.part is not None or call.cross:
        found.reasons.setdefault(path, "its queries and keys are not those of whole sequences")
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
        sums[path] = sums.get(path, 0.0) + torch.einsum("bhtd,bhte->hde", centred, centred)


def _centred(vectors: Tensor, real: Tensor | None) -> Tensor:
    """Vectors ``(batch, head, position, dim)`` less the means of their position and of their sequence."""
    weight = torch.ones_like(vectors[:, :1, :, :1])
    if real is not None and real.shape == (vectors.shape[0], vectors.shape[2]):
        weight = real[:, None, :, None].to(vectors)
    kept = vectors * weight
    by_position = kept.sum(0, keepdim=True) / weight.sum(0, keepdim=True).clamp_min(1)
    rest = (vectors - by_position) * weight
    return (rest - rest.sum(2, keepdim=True) / weight.sum(2, keepdim=True).clamp_min(1)) * weight


def content_orientation(study: Study) -> tuple[Orientation | None, str]:
    """Scores of all heads in order, or None and why there are none.

    Args:
        study: The study; a fixed number of its first sequences is run once more.
    """
    found = covariances(study.model, study.null_subset)
    queries: list[Array] = []
    keys: list[Array] = []
    for layer in study.observed.layers:
        if layer.path not in found.queries or len(found.queries[layer.path]) != layer.heads:
            return None, f"{layer.path}: {found.reasons.get(layer.path, 'its queries and keys were not met')}"
        own, read = (sums[layer.path].cpu().numpy() for sums in (found.queries, found.keys))
        queries += list(own)
        keys += [read[head // (layer.heads // len(read))] for head in range(layer.heads)]
    return orientation(queries, keys, seed=study.settings.seed), ""


def content_null(study: Study, statistic: str) -> NullComparison:
    """What a claim that attention follows content is compared with.

    Random orientations of queries against keys, which untrained models of any initialisation show; fresh models where
    queries and keys are not known before positions turn them, or where the settings ask for them.

    Args:
        study: The study.
        statistic: The claim's statistic of fresh models.
    """
    scores, why = study.content_orientation if study.settings.null == "orientation" else (None, "")
    if scores is None:
        fresh = untrained(study, statistic)
        if fresh.available or not why:
            return fresh
        nan = np.full(len(fresh.p), math.nan)
        told = f"not available: {why}; and {study.null_reason}"
        return NullComparison(null=told, p=nan, p_adjusted=nan, available=False)
    alpha = study.settings.alpha
    known = np.isfinite(scores.p_adjusted)
    return NullComparison(
        null=WORDS,
        p=scores.p,
        p_adjusted=scores.p_adjusted,
        exceeded="its queries and keys are turned towards each other",
        reached="queries and keys turned at random show as much",
        found=int((scores.p_adjusted[known] <= alpha).sum()) if known.any() else None,
        counted=f"beyond random orientations (family-wise, {alpha:.0%})",
    )
