"""Compare a running model's attention, head by head, with the attention that n-gram counts predict.

Choose a short excerpt of the text on which expected and actual weights are drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import logits_of
from heedful.errors import CaptureError, InputRejected
from heedful.evaluation.batches import batches_of
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import device_of, evaluating, refuse_nonfinite, run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.loading.batch import Batch
from heedful.ngrams.alignment.aligned_sums import AlignedLayer, Expectations, Key, Seen, head_records
from heedful.ngrams.alignment.record import Alignment, DrawnHead, DrawnPiece, HeadAlignment
from heedful.ngrams.derivation.row_alignment import row_alignment
from heedful.ngrams.derivation.table import NgramTable

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch


BATCH_TOKENS = 2048
BLOCK = 128
"""Rows that are held at once."""


def align(
    model: nn.Module,
    sequences: TokenBatch,
    tables: Mapping[Key, NgramTable],
    held_out: Mapping[Key, NgramTable] | None = None,
    *,
    name: str = "",
    counts: str = "",
    seed: int = 0,
    resamples: int = 2000,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Alignment:
    """Compare a model's attention with the attention predicted by n-gram counts.

    Rows from the second of each document on, whose context was counted and one of whose keys ever followed it. Beside
    each head stand uniform attention and attention by frequency, which knows how often tokens were counted and no
    context; a head's p is of being better than both.

    Args:
        model: A causal model with the tokenizer of the counts.
        sequences: The text; one that the counts did not see tells whether agreement is more than memory.
        tables: Counts by context length and skip.
        held_out: Counts of a text that the others did not see, some of the same contexts and skips.
        name: Of the model.
        counts: Of the counts.
        seed: Of the sign flips.
        resamples: How many.
        progress: Called with (done, total, what).

    Returns:
        Every head against every table, with 95 % intervals over documents.

    Raises:
        CaptureError: No attention of the model could be met.
        InputRejected: A weight is not finite, attention sees later tokens, or no row of the text has an expectation.
    """
    refuse_nonfinite(model, name or type(model).__name__)
    expectations = Expectations(tables, held_out or {})
    layers: dict[str, AlignedLayer] = {}
    batches: Sequence[Batch] = batches_of(model, sequences, BATCH_TOKENS)
    now: list[Batch] = [batches[0]]

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            _visit(event, now[0], expectations, layers, len(sequences.input_ids))

    with evaluating(model), torch.no_grad(), intercept(model, visit) as way:
        for done, batch in enumerate(batches):
            now[0] = batch
            expectations.forget()
            run_model(model, batch.input_ids, batch.attention_mask)
            progress(done + 1, len(batches), "expected attention")
    if not layers:
        raise CaptureError(type(model).__name__, "it ran and none of its attention could be captured")
    first = next(iter(layers.values()))
    if not any(rows.any() for rows in first.rows.values()):
        raise InputRejected(
            counts or "counts", "no context of the text was counted, or nothing in view ever followed one",
            "count a longer text, or shorter contexts",
        )  # fmt: skip
    unmet = way.not_captured()
    document = sequences.document.numpy()
    found = Alignment(
        model=name or type(model).__name__,
        counts=counts,
        rows=[(n, skip, float(rows.sum() / max(first.seen, 1))) for (n, skip), rows in sorted(first.rows.items())],
        sequences=len(sequences.input_ids),
        documents=len(np.unique(document)),
        heads=head_records(list(layers.values()), document, seed, resamples),
        unmet=unmet,
    )
    return replace(found, piece=drawn_piece(model, sequences, expectations, found.heads, log_weights))


def _visit(
    event: AttentionEvent, batch: Batch, expectations: Expectations, layers: dict[str, AlignedLayer], total: int
) -> None:
    call = event.call
    if call.n_queries != batch.input_ids.shape[1] or call.n_keys != call.n_queries:
        return
    if event.path not in layers:
        layers[event.path] = AlignedLayer(event.path, call.heads, total, expectations.tables)
    layer = layers[event.path]
    texts = [ids[mask.bool()].cpu().numpy() for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    for begin in range(1, call.n_queries, BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, call.n_queries))
        logs = log_weights(call, rows, event.path)
        for place, tokens in enumerate(texts):
            own, index = rows[rows < len(tokens)], int(batch.index[place])
            block = logs[place, :, : len(own), : len(tokens)]
            layer.seen += len(own)
            visible = _narrower(block, own)
            for key in expectations.tables:
                wanted = expectations.of(place, tokens, own, key, visible)
                counts = row_alignment(wanted.counts, block, own, visible)
                layer.add(key, index, counts, wanted.frequency)
                if wanted.unseen is not None:
                    layer.add_unseen(key, index, counts, row_alignment(wanted.unseen, block, own, visible))


def _narrower(block: Array, rows: np.ndarray) -> Seen | None:
    """Keys ``(row, key)`` that some head sees, where a window or a mask hides others before the query; else None."""
    visible = np.isfinite(block).any(0)
    causal = np.arange(block.shape[-1])[None, :] <= rows[:, None]
    return None if bool((visible == causal).all()) else np.asarray(visible)


def log_weights(call: AttentionCall, rows: np.ndarray, path: str) -> Array:
    """Return log attention weights of some rows, ``(batch, head, row, key)``; raises if later keys are visible.

    Args:
        call: The call.
        rows: Queries, one after the other.
        path: Of the module, for messages.

    Raises:
        InputRejected: A query sees later tokens.
    """
    visible = visible_before(call, rows, path)
    logits = logits_of(call, int(rows[0]), int(rows[-1]) + 1).double().masked_fill(~visible, -torch.inf)
    total = logits.logsumexp(-1, keepdim=True)
    if call.sink is not None:
        total = torch.logaddexp(total, call.sink.double().view(1, -1, 1, 1))
    return np.asarray((logits - total).cpu().numpy())


def visible_before(call: AttentionCall, rows: np.ndarray, path: str) -> torch.Tensor:
    """Return a bool mask of the keys that some rows see, broadcastable to ``(batch, head, row, key)``; raises if later
    keys are visible.

    Args:
        call: The call.
        rows: Queries, one after the other.
        path: Of the module, for messages.

    Raises:
        InputRejected: A query sees later tokens.
    """
    begin, end, device = int(rows[0]), int(rows[-1]) + 1, call.query.device
    visible = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, device)
    behind = torch.arange(call.n_keys, device=device)[None, :] > torch.arange(begin, end, device=device)[:, None]
    if bool((visible & behind).any()):
        raise InputRejected(path, "its queries see later tokens", "counts predict the attention of causal models")
    return visible


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
    """Return an excerpt of a text for drawing: its expected weights and the weights of some heads; None if no head has
    a skill.

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
