"""Choose a short excerpt of the text on which expected and actual weights are drawn together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from heedful.evaluation.running import device_of, evaluating, run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.ngrams.alignment.record import DrawnHead, DrawnPiece, HeadAlignment

if TYPE_CHECKING:
    from heedful.attention.call import AttentionCall
    from heedful.evaluation.evidence import Array
    from heedful.loading.sequences import TokenBatch
    from heedful.ngrams.alignment.expectation import Expectations

TOKENS = 32
"""Of the piece: what can still be read."""

LAYERS = 6
"""Layers of which the nearest head is drawn, evenly spaced."""

DIGITS = 5

LogWeights = Callable[["AttentionCall", np.ndarray, str], "Array"]


def drawn_piece(
    model: nn.Module,
    sequences: TokenBatch,
    expectations: Expectations,
    heads: Sequence[HeadAlignment],
    log_weights: LogWeights,
) -> DrawnPiece | None:
    """Return an excerpt of a text for drawing, with its expected weights and the actual weights of selected heads;
    None if no head has a skill.

    Args:
        model: The model.
        sequences: The text.
        expectations: Of the counts.
        heads: What was measured of all heads.
        log_weights: Reads the weights of a call.

    Returns:
        The piece; None where no head has a skill.
    """
    known = [one for one in heads if math.isfinite(one.skill.estimate)]
    if not known:
        return None
    best = max(known, key=lambda one: one.skill.estimate)
    chosen = _chosen([one for one in known if (one.n, one.skip) == (best.n, best.skip)])
    index = _readable(sequences, expectations, best)
    ids = sequences.input_ids[index][sequences.attention_mask[index].bool()][:TOKENS]
    rows = np.arange(len(ids))
    expectations.forget()
    expected = expectations.of(0, ids.numpy(), rows, (best.n, best.skip)).counts
    weights = _weights(model, ids, {one.path for one, _ in chosen}, log_weights)
    return DrawnPiece(
        tokens=[sequences.tokens(int(token)) for token in ids],
        n=best.n,
        skip=best.skip,
        expected=_rounded(expected),
        heads=[
            DrawnHead(
                layer=one.layer, head=one.head, why=why, skill=one.skill.estimate,
                weights=_rounded(weights[one.path][one.head]),
            )
            for one, why in chosen
            if one.path in weights
        ],
    )  # fmt: skip


def _chosen(heads: Sequence[HeadAlignment]) -> list[tuple[HeadAlignment, str]]:
    """The nearest, the farthest, and the nearest of some layers, each once."""
    order = sorted(heads, key=lambda one: -one.skill.estimate)
    found = [(order[0], "nearest of all")]
    if len(order) > 1:
        found.append((order[-1], "farthest of all"))
    layers = sorted({one.layer for one in heads})
    places = np.unique(np.linspace(0, len(layers) - 1, min(LAYERS, len(layers))).round().astype(int))
    for layer in (layers[place] for place in places):
        one = next(each for each in order if each.layer == layer)
        if all(one is not had for had, _ in found):
            found.append((one, "nearest of its layer"))
    return found


def _readable(sequences: TokenBatch, expectations: Expectations, best: HeadAlignment) -> int:
    """The sequence with most expected rows among its first tokens."""
    found = []
    for index, (ids, mask) in enumerate(zip(sequences.input_ids, sequences.attention_mask, strict=True)):
        tokens = ids[mask.bool()][:TOKENS].numpy()
        expectations.forget()
        rows = expectations.of(0, tokens, np.arange(len(tokens)), (best.n, best.skip)).counts
        found.append((int((~np.isnan(rows).any(-1)).sum()), -index))
    return -max(found)[1]


def _weights(model: nn.Module, ids: torch.Tensor, paths: set[str], log_weights: LogWeights) -> dict[str, Array]:
    """Path to weights ``(head, query, key)`` of one short sequence."""
    found: dict[str, Array] = {}

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            if event.path in paths and event.path not in found and event.call.n_keys == len(ids):
                found[event.path] = np.exp(log_weights(event.call, np.arange(len(ids)), event.path)[0])

    whole = ids[None].to(device_of(model))
    with evaluating(model), torch.no_grad(), intercept(model, visit):
        run_model(model, whole, torch.ones_like(whole))
    return found


def _rounded(rows: Array) -> list[list[float]]:
    return [[round(float(value), DIGITS) for value in row] for row in rows]
