"""Split the sequences of a text into batches for the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from heedful.evaluation.memory_estimate import batch_bytes
from heedful.evaluation.running import device_of
from heedful.loading.batch import Batch
from heedful.loading.memory import ensure_fits

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch


def batch_of(sequences: TokenBatch, index: Tensor, device: torch.device) -> Batch:
    """Return the sequences at ``index`` as one batch."""
    return Batch(
        sequences.input_ids[index].to(device),
        sequences.attention_mask[index].to(device),
        index,
        sequences.special[index].to(device),
        sequences.punctuation[index].to(device),
    )


def batches_of(model: nn.Module, sequences: TokenBatch, tokens: int) -> list[Batch]:
    """Return batches of all sequences, ordered so that neighbours come from different documents.

    Args:
        model: The model that will read them, where it is.
        sequences: The text.
        tokens: Tokens of a batch, about.

    Returns:
        Batches of at least two sequences, for a sequence is compared with its neighbour; of one where there is but one.

    Raises:
        ResourceLimit: A batch would not fit in memory; nothing was allocated.
    """
    total, length = sequences.input_ids.shape
    size, device = max(2, tokens // max(1, length)), device_of(model)
    wanted = batch_bytes(model, min(size, total), length)
    hint = "lower --seq-len, or validate on a machine with more memory"
    ensure_fits(wanted, f"batches of sequences of {length:,} tokens", device=str(device), hint=hint)
    starts = list(range(0, total, size))
    if len(starts) > 1 and total - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], total]
    return [batch_of(sequences, torch.arange(a, b), device) for a, b in zip(starts, ends, strict=True)]


def leading(batches: Sequence[Batch], count: int) -> list[Batch]:
    """Return the first batches that together hold at least ``count`` sequences (and at least two), or all batches."""
    chosen, have = [], 0
    for batch in batches:
        if have >= max(count, 2):
            break
        chosen.append(batch)
        have += len(batch.index)
    return chosen
