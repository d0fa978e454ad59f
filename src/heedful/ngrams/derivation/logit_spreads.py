"""Measure the logit spread of a model's heads over each query's visible keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import logits_of, seen_at
from heedful.errors import CaptureError
from heedful.evaluation.batches import batches_of
from heedful.evaluation.running import evaluating, run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

BATCH_TOKENS = 2048


def logit_spreads(model: nn.Module, sequences: TokenBatch) -> list[list[float]]:
    r"""Return the standard deviation of logits over a query's visible keys, averaged over queries, by layer and head.

    .. math:: \frac1{|Q|} \sum_{i \in Q} \sqrt{\tfrac1{n_i} \sum_{j \in V_i} (l_{ij} - \bar l_i)^2}

    What calibration ``reference`` of a derived model brings its heads to. Pitfall: it depends on how many keys are in
    view; take sequences as long as those that the derived heads are calibrated on.

    Args:
        model: Any model whose attention can be met.
        sequences: Short text: rows of a batch are held whole.

    Returns:
        By layer, in the order of calls, and head; NaN for a head none of whose queries sees two keys.

    Raises:
        CaptureError: No attention of the model could be met.
    """
    totals: dict[str, Tensor] = {}

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            found = _sums(event.call)
            totals[event.path] = totals[event.path] + found if event.path in totals else found

    with evaluating(model), torch.no_grad(), intercept(model, visit):
        for batch in batches_of(model, sequences, BATCH_TOKENS):
            run_model(model, batch.input_ids, batch.attention_mask)
    if not totals:
        raise CaptureError(type(model).__name__, "it ran and none of its attention could be captured")
    return [[float(value) for value in total[0] / total[1]] for total in totals.values()]


def _sums(call: AttentionCall) -> Tensor:
    """Sum of rows' spreads and number of rows, ``(2, head)``."""
    seen = seen_at(call, torch.arange(call.n_queries, device=call.query.device))
    number = seen.sum(-1)
    logits = logits_of(call, 0, call.n_queries).double().masked_fill(~seen, 0.0)
    mean = logits.sum(-1) / number
    variance = ((logits - mean[..., None]).square() * seen).sum(-1) / number
    judged = (number > 1).expand(variance.shape)
    spreads = torch.where(judged, variance.sqrt(), 0.0)
    return torch.stack([spreads.sum((0, 2)), judged.double().sum((0, 2))]).cpu()
