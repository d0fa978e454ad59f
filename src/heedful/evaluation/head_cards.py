"""Compute the card of each head: a picture of its weights on one document, its attention mass by distance, and the
keys with the most weight.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE, distance_label
from heedful.attention.engines.binned import BinnedMap, binned_map
from heedful.attention.engines.points import rows_at
from heedful.evaluation.batches import batch_of
from heedful.evaluation.evidence import Array, LayerEvidence, Probe, ProbedCall, collect
from heedful.evaluation.heads import head_table
from heedful.evaluation.result import LEAST_SHARE, SHADES, Cards, HeadCard, Picture, Strongest
from heedful.evaluation.running import device_of
from heedful.evaluation.study import Study
from heedful.inference.mean_interval import SHARE, mean_interval
from heedful.inference.units import mean_of

MOST_BINS = 256
LEAST_BINS = 32
CELLS = 4_500_000
"""Cells of all pictures together: with 270 heads 129 bins a side, which keeps a page below 3 MB."""

QUERIES = 6
"""Queries of the pictured document whose heaviest keys are listed, spread over it."""

KEYS = 4
"""Keys listed for a query."""


def head_cards(study: Study) -> Cards:
    """Return the cards of all heads, from one more forward on one document and the study's other evidence.

    Args:
        study: The study.

    Returns:
        Cards in the order of ``heads.head_table``.
    """
    layers = study.observed.layers
    total = sum(layer.heads for layer in layers)
    place = _whole_sequence(study)
    batch = batch_of(study.sequences, torch.tensor([place]), device_of(study.model))
    study.progress(0, 1, "pictures of heads")
    evidence = collect(study.model, [batch], [pictured(bins_for(total))], ranks=study.ranks)
    pictures = {layer.path: layer for layer in evidence.layers}
    curves = {layer.path: _reach(study, layer) for layer in layers}
    used = _used(curves)
    cards, position = [], 0
    for layer in layers:
        for head in range(layer.heads):
            seen = _seen(pictures.get(layer.path), head, batch.input_ids.shape[1])
            reach = _curve(curves[layer.path], head, used)
            cards.append(HeadCard(layer=layer.layer, head=head, **seen, **reach, untrained=_untrained(study, position)))
            position += 1
    length = int(batch.attention_mask.sum())
    return Cards(
        document=study.sequences.document_names[int(study.sequences.document[place])],
        length=length,
        tokens={at: study.sequences.tokens(int(batch.input_ids[0, at])) for at in _places(cards, length)},
        distances=[distance_label(index, used - 1) for index in range(used)],
        heads=cards,
    )


def bins_for(heads: int) -> int:
    """Return the number of bins on each picture axis: 256, or fewer for many heads to limit the total size."""
    return max(LEAST_BINS, min(MOST_BINS, math.isqrt(CELLS // max(heads, 1))))


def shades(seen: BinnedMap) -> Tensor:
    """Convert binned weights to the shade levels of ``Picture``.

    Returns:
        ``(batch, head, query_bin, key_bin)`` int64 from 0 to ``SHADES``; 0 where nothing is visible or finite.
    """
    queries = seen.query_edges.diff().to(seen.mass.device)[:, None]
    keys_seen = seen.visible.sum(-1, keepdim=True) / queries
    share = seen.mean * keys_seen
    least, most = math.log2(LEAST_SHARE), math.log2(max(seen.mass.shape[-1], 2))
    place = ((share.clamp_min(LEAST_SHARE / 2).log2() - least) / (most - least)).clamp(0, 1)
    found = 1 + (place * (SHADES - 1)).round()
    return found.masked_fill((seen.visible == 0) | ~torch.isfinite(share), 0).nan_to_num().long()


def pictured(bins: int) -> Probe:
    """Return a probe that records each head's binned weights, and the keys with the most weight for a few queries and
    over all queries.

    Args:
        bins: Most bins of each axis of the picture.
    """

    def probe(probed: ProbedCall) -> dict[str, Tensor]:
        call = probed.event.call
        first = min(MIN_VISIBLE, call.n_queries - 1)
        queries = torch.linspace(first, call.n_queries - 1, QUERIES, device=call.query.device).round().long().unique()
        top = min(KEYS, call.n_keys)
        weights, keys = rows_at(call, queries).topk(top, dim=-1)
        moments = probed.moments
        share = moments.keys.received / (moments.rows.visible > 0).sum(-1, keepdim=True)
        received, receivers = share.topk(top, dim=-1)
        return {
            "shades": shades(binned_map(call, bins)),
            "query": queries.expand(call.batch, -1),
            "key": keys,
            "weight": weights,
            "receiver": receivers,
            "received": received,
            "n_keys": torch.full((call.batch,), call.n_keys),
        }

    return probe


def _whole_sequence(study: Study) -> int:
    """The first sequence without padding, else the first."""
    whole = study.sequences.attention_mask.bool().all(dim=1).nonzero()
    return int(whole[0]) if len(whole) else 0


def _seen(layer: LayerEvidence | None, head: int, length: int) -> dict[str, Any]:
    """What the pictured document shows of one head; nothing where its layer was not met there."""
    if layer is None:
        return {"picture": None, "received": None, "strongest": []}
    values = {name: array[0] for name, array in layer.values.items()}
    grid = values["shades"][head].astype(np.uint8)
    listed = [
        _heaviest(int(query), keys, weights)
        for query, keys, weights in zip(values["query"], values["key"][head], values["weight"][head], strict=True)
    ]
    return {
        "picture": _picture(grid) if grid.any() else None,
        "received": _heaviest(None, values["receiver"][head], values["received"][head]),
        "strongest": [one for one in listed if one is not None],
        "keys_are_tokens": int(values["n_keys"]) == length,
    }


def _picture(grid: np.ndarray) -> Picture:
    packed = base64.b64encode(zlib.compress(grid.tobytes(), 9)).decode("ascii")
    return Picture(rows=grid.shape[0], columns=grid.shape[1], shades=packed)


def _heaviest(query: int | None, keys: Array, weights: Array) -> Strongest | None:
    """Keys that have weight; None where the weights are not finite."""
    if not np.isfinite(weights).all():
        return None
    kept = [(int(key), float(weight)) for key, weight in zip(keys, weights, strict=True) if weight > 0]
    return Strongest(query=query, keys=[key for key, _ in kept], weights=[weight for _, weight in kept])


def _reach(study: Study, layer: LayerEvidence) -> tuple[Array, Array] | None:
    """Mass by distance over documents ``(3, head, bin)`` and its uniform share ``(head, bin)``; None without them."""
    if "distance_mass" not in layer.values:
        return None
    units = study.units(layer.values["distance_mass"])
    band = mean_interval(units, within=SHARE)
    uniform = mean_of(study.units(layer.values["distance_uniform"]), axis=0)
    return np.stack([np.asarray(part) for part in (band.estimate, band.low, band.high)]), uniform


def _used(curves: dict[str, tuple[Array, Array] | None]) -> int:
    """Number of distance bins up to the farthest that any layer reaches."""
    reached = [np.flatnonzero((curve[1] > 0).any(axis=0)) for curve in curves.values() if curve is not None]
    return max((int(found[-1]) + 1 for found in reached if len(found)), default=0)


def _curve(curve: tuple[Array, Array] | None, head: int, used: int) -> dict[str, Any]:
    if curve is None:
        return {"distance": [], "uniform": []}
    band, uniform = curve
    points = [(float(mid), float(low), float(high)) for mid, low, high in band[:, head, :used].T]
    return {"distance": points, "uniform": [float(share) for share in uniform[head, :used]]}


def _untrained(study: Study, position: int) -> dict[str, tuple[float, float, float]]:
    """Smallest, mean and largest of each statistic over untrained models, for one head."""
    found = {}
    for name in head_table(study)[position].statistics:
        if name in study.nulls:
            values = study.nulls[name][:, position]
            if np.isfinite(values).all():
                found[name] = (float(values.min()), float(values.mean()), float(values.max()))
    return found


def _places(cards: list[HeadCard], length: int) -> list[int]:
    """Positions whose tokens are kept: all of a short document, else those that a card names."""
    return sorted(_named(cards) | (set(range(length)) if length <= MOST_BINS else set()))


def _named(cards: list[HeadCard]) -> set[int]:
    """Positions whose token a card shows."""

    def named() -> Iterator[int]:
        for card in cards:
            for one in (card.received, *card.strongest):
                if one is not None:
                    yield from one.keys if card.keys_are_tokens else ()
                    if one.query is not None:
                        yield one.query

    return set(named())
