"""Compute attention logits of a running model's heads on short excerpts, by layer and batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import logits_of
from heedful.errors import InputRejected
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import device_of, evaluating, run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.ngrams.alignment.count_alignment import visible_before

BATCH = 64
"""Pieces that go through a model together."""

Visit = Callable[[int, int, Array], None]
"""Called with a layer, the number of the first piece of a batch, and logits ``(piece, head, row, column)``."""


def visit_heads(model: nn.Module, tokens: np.ndarray, visit: Visit) -> None:
    """Call ``visit`` with the logits of every layer of a model, one batch of excerpts at a time.

    Columns are keys, -inf where the softmax sees none, and one more where the head has a learned sink: it takes weight
    as a key does, and a temperature acts on it.

    Args:
        model: Any causal model.
        tokens: ``(piece, position)`` token numbers.
        visit: What is done with rows from the second on.

    Raises:
        InputRejected: A query sees later tokens.
    """
    layers: dict[str, int] = {}
    begin = 0

    def captured(event: AttentionEvent) -> None:
        call = event.call
        if (call.n_queries, call.n_keys) != (tokens.shape[1], tokens.shape[1]):
            return
        layer = layers.setdefault(event.path, len(layers))
        with unwatched(), torch.no_grad():
            visit(layer, begin, _columns(call, event.path))

    with evaluating(model), torch.no_grad(), intercept(model, captured):
        for begin in range(0, len(tokens), BATCH):
            ids = torch.from_numpy(tokens[begin : begin + BATCH]).to(device_of(model))
            run_model(model, ids, torch.ones_like(ids))


def _columns(call: AttentionCall, path: str) -> Array:
    visible = visible_before(call, np.arange(1, call.n_queries), path)
    logits = logits_of(call, 1, call.n_queries).double().masked_fill(~visible, -torch.inf)
    if call.sink is not None:
        sink: Tensor = call.sink.double().view(1, -1, 1, 1)
        logits = torch.cat([logits, sink.expand(*logits.shape[:-1], 1)], dim=-1)
    return np.asarray(logits.cpu().numpy())


def head_logits(model: nn.Module, tokens: np.ndarray, layer: int, head: int) -> Array:
    """Return one head's attention logits, ``(excerpt, query, key)``; queries start at the second position.

    Args:
        model: Any causal model.
        tokens: ``(piece, position)`` token numbers.
        layer: In the order of calls.
        head: Query head.

    Raises:
        InputRejected: A query sees later tokens or misses earlier ones, or there is no such head to be met.
    """
    found: list[Array] = []

    def visit(at: int, begin: int, logits: Array) -> None:
        if at == layer and head < logits.shape[1]:
            found.append(logits[:, head])

    visit_heads(model, tokens, visit)
    if sum(map(len, found)) != len(tokens):
        raise InputRejected(f"layer {layer}, head {head}", "no attention of it was captured while the model ran")
    logits = np.concatenate(found)
    if not _whole(logits).all():
        message = (
            "keys are hidden from some queries, as by a window, so that the KL from what counts expect has no bound"
        )
        raise InputRejected(f"layer {layer}, head {head}", message, "give a smaller --length")
    return logits


def nearest_head(model: nn.Module, tokens: np.ndarray, expected: Array) -> tuple[int, int]:
    """Return layer and head with the smallest mean KL from expected weights.

    Args:
        model: Any causal model.
        tokens: ``(piece, position)`` token numbers.
        expected: ``(piece, row, position)`` of rows from the second on; NaN where nothing is expected.

    Raises:
        InputRejected: Every layer hides keys from some queries.
    """
    defined = np.asarray(~np.isnan(expected).any(-1))
    known, keys = np.where(defined[..., None], expected, 0.0), expected.shape[-1]
    sums: dict[int, Array] = {}
    hides: set[int] = set()

    def visit(layer: int, begin: int, logits: Array) -> None:
        wanted = known[begin : begin + len(logits), None]
        logs = log_softmax(logits, axis=-1)[..., :keys]
        crossed = -(wanted * np.where(wanted > 0, logs, 0.0)).sum((0, 2, 3))
        sums[layer] = sums.get(layer, 0.0) + crossed
        if not _whole(logits).all():
            hides.add(layer)

    visit_heads(model, tokens, visit)
    least = {layer: total for layer, total in sums.items() if layer not in hides and np.isfinite(total).any()}
    if not least:
        message = "none of its attention was captured, or all of it hides keys from some queries, as by a window"
        raise InputRejected(type(model).__name__, message, "give a smaller --length")
    layer = min(least, key=lambda one: float(np.nanmin(least[one])))
    return layer, int(np.nanargmin(least[layer]))


def _whole(logits: Array) -> np.ndarray:
    """Whether each row sees every key up to its own, ``(..., row)``."""
    rows = logits.shape[-2]
    behind = np.triu(np.ones((rows, rows + 1), dtype=bool), 2)
    return np.asarray((np.isfinite(logits[..., : rows + 1]) | behind).all(-1))


def check_causal(model: nn.Module, tokens: np.ndarray, name: str) -> None:
    """Raise an error if a model, run on one excerpt, is not causal.

    Args:
        model: The model.
        tokens: ``(1, position)`` token numbers.
        name: What the user called it.

    Raises:
        InputRejected: It cannot be run so, shows no attention, or its queries see later tokens.
    """
    layers: set[int] = set()
    try:
        visit_heads(model, tokens, lambda layer, begin, logits: layers.add(layer))
    except InputRejected as error:
        raise InputRejected(name, f"{error.subject}: {error.what}", error.fix) from error
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise InputRejected(name, f"its forward raised on {tokens.shape[1]} token ids: {message}") from error
    if not layers:
        raise InputRejected(name, "it ran and showed no attention", "give a model that has some")
