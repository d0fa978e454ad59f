"""Attention of a running model beside the attention that n-gram counts predict, head by head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from heedful.capture import AttentionEvent, intercept, unwatched
from heedful.core.alignment import Alignment, HeadAlignment
from heedful.core.call import AttentionCall
from heedful.core.effect import Effect
from heedful.core.errors import CaptureError, InputRejected
from heedful.derivation import RowAlignment, Table, expected_rows, row_alignment
from heedful.derivation.affinity import Affinity, probability
from heedful.engine.points import logits_of
from heedful.inference import Interval, bootstrap_t, document_means
from heedful.study.batches import batches_of
from heedful.study.evidence import Array
from heedful.study.running import Batch, evaluating, run_model

if TYPE_CHECKING:
    from heedful.loading import Sequences

BATCH_TOKENS = 2048
BLOCK = 128
"""Rows that are held at once."""

NAMES = ("divergence", "uniform", "cosine", "match", "chance")


@dataclass
class _Layer:
    path: str
    heads: int
    sums: dict[tuple[int, int], Array]
    rows: dict[tuple[int, int], Array]


@dataclass
class _Seen:
    """What was summed, layer by layer: ``sums`` ``(sequence, head, name)``, ``rows`` ``(sequence,)``."""

    total: int
    layers: dict[str, _Layer] = field(default_factory=dict)
    expected: int = 0
    all: int = 0


def align(
    model: nn.Module,
    sequences: Sequences,
    tables: Mapping[tuple[int, int], Table],
    *,
    name: str = "",
    counts: str = "",
    seed: int = 0,
    resamples: int = 2000,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Alignment:
    """Expected attention from counts against actual attention.

    Rows from the second of each document on, whose context was counted and one of whose keys ever followed it.

    Args:
        model: A causal model with the tokenizer of the counts.
        sequences: The text; one that the counts did not see tells whether agreement is more than memory.
        tables: Counts by context length and skip.
        name: Of the model.
        counts: Of the counts.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
        progress: Called with (done, total, what).

    Returns:
        Every head against every table, with 95 % intervals over documents.

    Raises:
        CaptureError: No attention of the model could be met.
        InputRejected: Attention sees later tokens, or no row of the text has an expectation.
    """
    seen, likelihoods = _Seen(len(sequences.input_ids)), {key: probability(table) for key, table in tables.items()}
    batches: Sequence[Batch] = batches_of(model, sequences, BATCH_TOKENS)
    now: list[Batch] = [batches[0]]

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            _visit(event, now[0], tables, likelihoods, seen)

    with evaluating(model), torch.no_grad(), intercept(model, visit) as way:
        for done, batch in enumerate(batches):
            now[0] = batch
            run_model(model, batch.input_ids, batch.attention_mask)
            progress(done + 1, len(batches), "expected attention")
    if not seen.layers:
        raise CaptureError(type(model).__name__, "it ran and none of its attention could be met")
    if not seen.expected:
        raise InputRejected(
            counts or "counts", "no context of the text was counted, or nothing in view ever followed one",
            "count a longer text, or shorter contexts",
        )  # fmt: skip
    unmet = {path: f"{kind} ran and no attention call of it was seen" for path, kind in way.stack.never_met().items()}
    document = sequences.document.numpy()
    heads = [
        record
        for index, layer in enumerate(seen.layers.values())
        for record in _records(index, layer, document, seed, resamples)
    ]
    return Alignment(
        model=name or type(model).__name__,
        counts=counts,
        rows=seen.expected / seen.all,
        sequences=seen.total,
        documents=len(np.unique(document)),
        heads=sorted(heads, key=lambda one: (one.layer, one.head, one.n, one.skip)),
        unmet=unmet | dict(way.not_understood),
    )


def _visit(
    event: AttentionEvent,
    batch: Batch,
    tables: Mapping[tuple[int, int], Table],
    likelihoods: Mapping[tuple[int, int], Affinity],
    seen: _Seen,
) -> None:
    call = event.call
    if call.n_queries != batch.input_ids.shape[1] or call.n_keys != call.n_queries:
        return
    if event.path not in seen.layers:
        sums = {key: np.zeros((seen.total, call.heads, len(NAMES))) for key in tables}
        seen.layers[event.path] = _Layer(event.path, call.heads, sums, {key: np.zeros(seen.total) for key in tables})
    layer = seen.layers[event.path]
    texts = [ids[mask.bool()].cpu().numpy() for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    for begin in range(1, call.n_queries, BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, call.n_queries))
        logs = _log_weights(call, rows, event.path)
        for place, tokens in enumerate(texts):
            own = rows[rows < len(tokens)]
            block = logs[place, :, : len(own), : len(tokens)]
            for key, table in tables.items():
                expected = expected_rows(table, tokens, own, likelihoods[key])
                _add(layer, key, int(batch.index[place]), row_alignment(expected, block, own), seen)


def _add(layer: _Layer, key: tuple[int, int], index: int, found: RowAlignment, seen: _Seen) -> None:
    columns = (found.divergence, found.uniform_divergence, found.cosine, found.match, found.uniform_match)
    wide = np.stack([np.broadcast_to(column, found.divergence.shape) for column in columns], axis=-1)
    layer.sums[key][index] += np.nansum(wide, axis=1)
    count = int((~np.isnan(found.uniform_divergence)).sum())
    layer.rows[key][index] += count
    seen.expected, seen.all = seen.expected + count, seen.all + len(found.uniform_divergence)


def _log_weights(call: AttentionCall, rows: np.ndarray, path: str) -> Array:
    """Natural logs of the weights of some rows, ``(batch, head, row, key)``; what lies behind a row must be unseen."""
    begin, end, device = int(rows[0]), int(rows[-1]) + 1, call.query.device
    visible = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, device)
    behind = torch.arange(call.n_keys, device=device)[None, :] > torch.arange(begin, end, device=device)[:, None]
    if bool((visible & behind).any()):
        raise InputRejected(path, "its queries see later tokens", "counts predict the attention of causal models")
    logits = logits_of(call, begin, end).double().masked_fill(~visible, -torch.inf)
    total = logits.logsumexp(-1, keepdim=True)
    if call.sink is not None:
        total = torch.logaddexp(total, call.sink.double().view(1, -1, 1, 1))
    return np.asarray((logits - total).cpu().numpy())


def _records(index: int, layer: _Layer, document: Array, seed: int, resamples: int) -> list[HeadAlignment]:
    found = []
    for (n, skip), sums in layer.sums.items():
        rows = layer.rows[n, skip]
        means = np.full(sums.shape, np.nan)
        np.divide(sums, rows[:, None, None], out=means, where=rows[:, None, None] > 0)
        means = np.concatenate([means, means[..., 1:2] - means[..., 0:1]], axis=-1)
        interval = bootstrap_t(document_means(means, document), resamples=resamples, seed=seed)
        for head in range(layer.heads):
            effects = {word: _effect(interval.at(head, column)) for column, word in enumerate((*NAMES, "gain"))}
            found.append(HeadAlignment(layer=index, path=layer.path, head=head, n=n, skip=skip, **effects))
    return found


def _effect(interval: Interval) -> Effect:
    low, high, middle = (float(value) for value in (interval.low, interval.high, interval.estimate))
    return Effect(estimate=middle, low=low, high=high, n=int(interval.units))
