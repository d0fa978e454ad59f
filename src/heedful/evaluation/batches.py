"""Split the sequences of a text into batches for the model.

Estimate the peak memory of a study before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from heedful.attention.engines.blocks import CPU_ELEMENTS
from heedful.evaluation.running import device_of
from heedful.loading.batch import Batch
from heedful.loading.memory import available_bytes, ensure_fits

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


FILLED = 0.25
"""Share of a GPU's free memory that one batch may fill; inputs of layers and weights of draws are kept beside it."""


def tokens_at_once(model: nn.Module, shape: tuple[int, int], least: int) -> int:
    """Return how many tokens go through the model at once: on a GPU as many as its free memory holds.

    Args:
        model: The model, where it is.
        shape: Sequences of the text, and tokens of each.
        least: Tokens of a batch on any other device, and the least on a GPU.

    Returns:
        ``least``, doubled as long as a batch fills at most ``FILLED`` of the free memory and the text is longer.
    """
    device, (total, length) = device_of(model), shape
    if device.type != "cuda":
        return least
    room, tokens = FILLED * available_bytes(str(device)), least
    while tokens < total * length and batch_bytes(model, max(1, 2 * tokens // length), length) <= room:
        tokens *= 2
    return tokens


ACTIVATIONS = 24
"""Floats per token and layer, in widths, that a forward and the backward of section 8 keep: queries, keys, values,
feed-forward of four widths and their gradients."""

LOGIT_COPIES = 4
"""Copies of the logits that the loss makes: the model's own, float32, log-softmax and its gradient."""


def batch_bytes(model: nn.Module, sequences: int, tokens: int) -> int:
    """Estimate the bytes that one batch needs in addition to the parameters.

    Args:
        model: The model; sizes are read from its config where it has one, else from its largest parameter.
        sequences: Sequences in a batch.
        tokens: Tokens of a sequence.

    Returns:
        An upper estimate.
    """
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None and hasattr(config, "get_text_config") else config
    rows = [max(p.shape) for p in model.parameters() if p.dim() > 1]
    columns = [min(p.shape) for p in model.parameters() if p.dim() > 1]
    width = int(getattr(text, "hidden_size", 0) or max(columns, default=1))
    layers = int(getattr(text, "num_hidden_layers", 0) or 8)
    heads = int(getattr(text, "num_attention_heads", 0) or 8)
    vocabulary = int(getattr(text, "vocab_size", 0) or max(rows, default=1))
    everywhere = sequences * tokens
    per_token = vocabulary * LOGIT_COPIES + width * ACTIVATIONS * layers
    # Sampled rows of section 6, blocks of the ablation patterns: at most 64 query rows against all keys of the batch.
    rows_held = 4 * 64 * everywhere * heads
    return 4 * (everywhere * per_token + rows_held + 4 * CPU_ELEMENTS)
