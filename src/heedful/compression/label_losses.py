"""Compute losses with correct and with wrong labels from one forward per batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from heedful.compression.loss_context import EvaluationContext
from heedful.compression.record import LabelLosses
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import run_model, tensor_of
from heedful.inference.mean_interval import AT_LEAST_0
from heedful.loading.batch import Batch

RIGHT, FED, SHUFFLED = 0, 1, 2
"""Columns of ``label_losses``."""


def label_losses(context: EvaluationContext, batches: Sequence[Batch], tick: Callable[[], None]) -> Array:
    """Return each sequence's loss with three sets of labels, ``(sequence, 3)``: correct labels, input tokens at the
    same positions, and shuffled correct labels.

    The right ones are the objective's: the next token, or the hidden one. The second are the tokens that were fed at
    the same positions. The third are the right ones in another order within each sequence, drawn from the seed and the
    sequence's index.

    Args:
        context: Model and loss.
        batches: What to run.
        tick: Called after each batch.

    Returns:
        ``(sequence, 3)`` in nats per token; NaN where a sequence predicts nothing.
    """
    parts = []
    with torch.no_grad():
        for batch in batches:
            ids, counted, right = context.objective.question(batch)
            logits = tensor_of(run_model(context.model, ids, batch.attention_mask), "logits")
            if logits is None:
                continue
            logits = logits[:, : right.shape[1]].float().transpose(1, 2)
            wrong = [ids[:, : right.shape[1]], _shuffled(right, counted, batch, context.seed)]
            found = [_mean_loss(logits, counted, labels) for labels in (right, *wrong)]
            parts.append(torch.stack(found, 1).double().cpu().numpy())
            tick()
    return np.concatenate(parts)


def judged_labels(context: EvaluationContext, losses: Array) -> LabelLosses:
    """Judge whether the model predicts the correct labels better than wrong ones.

    Args:
        context: Whose documents the sequences are of.
        losses: Those of ``label_losses``, on all sequences.
    """
    gaps = [context.loss_effect(losses[:, wrong] - losses[:, RIGHT]) for wrong in (FED, SHUFFLED)]
    answer = "yes" if all(gap.low > 0 for gap in gaps) else "no" if any(gap.high < 0 for gap in gaps) else "not settled"
    if not all(np.isfinite(gap.low) and np.isfinite(gap.high) for gap in gaps):
        answer = "insufficient data"
    right, fed, shuffled = context.effects(losses, AT_LEAST_0)
    return LabelLosses(right=right, fed=fed, shuffled=shuffled, answer=answer)


def _mean_loss(logits: Tensor, counted: Tensor, labels: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, labels, reduction="none").masked_fill(counted == 0, 0)
    number = counted.sum(1)
    return losses.sum(1) / number.masked_fill(number == 0, torch.nan)


def _shuffled(labels: Tensor, counted: Tensor, batch: Batch, seed: int) -> Tensor:
    found = labels.clone()
    for row, index in enumerate(batch.index.tolist()):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        places = counted[row].nonzero()[:, 0]
        found[row, places] = labels[row, places[torch.randperm(len(places), generator=generator).to(places.device)]]
    return found
