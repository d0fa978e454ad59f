"""Compute token losses in blocks of rows, so that large logits need no second copy in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 256
"""Rows of logits that are held in float32 at once."""


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log likelihood of each target, in nats, with the shape of ``targets``.

    Args:
        logits: ``(sequence, token, vocabulary)``; never changed.
        targets: ``(sequence, token)`` ids.

    Returns:
        ``(sequence, token)`` float32 in nats, with a gradient where the logits have one.

    Example:
        >>> import torch
        >>> token_losses(torch.zeros(1, 2, 4), torch.tensor([[0, 3]])).round(decimals=4).tolist()
        [[1.3863, 1.3863]]
    """
    if logits.requires_grad:
        return F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
    return _in_blocks(logits, targets, lambda block: block.to(torch.float32, copy=True))


def losses_of_hidden(hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the negative log likelihood of each target from hidden states, without storing all logits at once.

    Args:
        hidden: ``(sequence, token, width)``.
        targets: ``(sequence, token)`` ids.
        head: The output layer, ``(row, width)`` to ``(row, vocabulary)``.

    Returns:
        ``(sequence, token)`` float32 in nats, without a gradient.
    """
    with torch.no_grad():
        return _in_blocks(hidden, targets, lambda block: head(block).float())


def _in_blocks(rows: Tensor, targets: Tensor, logits_of: Callable[[Tensor], Tensor]) -> Tensor:
    flat, wanted = rows.flatten(0, 1), targets.flatten().to(rows.device)
    found = torch.empty(len(flat), dtype=torch.float32, device=rows.device)
    for begin in range(0, len(flat), ROWS):
        block = logits_of(flat[begin : begin + ROWS])
        right = block.gather(1, wanted[begin : begin + ROWS, None].to(block.device))[:, 0]
        top = block.amax(1)
        total = block.sub_(top[:, None]).exp_().sum(1).log_()
        found[begin : begin + ROWS] = (total + top - right).to(found.device)
    return found.view(targets.shape)
