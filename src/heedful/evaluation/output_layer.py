"""Compute a model's output layer in row blocks or skip it, where a trial shows that results stay the same.

Compute token losses in blocks of rows, so that large logits need no second copy in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heedful.distributed.sharded import is_tensor_parallel
from heedful.evaluation.running import run_model, tensor_of
from heedful.interception.intercept import unwatched
from heedful.loading.batch import Batch

ROUNDING = 128
"""Units in the last place, of the largest logit, by which two ways of computing one may differ."""


@dataclass(frozen=True)
class OutputLayer:
    """The module that maps a model's last hidden states to logits.

    Attributes:
        module: It.
        width: Logits that it makes of each token.
    """

    module: nn.Module
    width: int

    @contextmanager
    def left_out(self, take: Callable[[Tensor], None] = lambda hidden: None) -> Iterator[None]:
        """Return a context in which forwards compute logits only for the last token.

        Args:
            take: Called with the hidden states ``(sequence, token, width)`` of each forward.
        """

        def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            with unwatched():
                take(args[0])
                return (args[0][:, -1:], *args[1:])

        handle = self.module.register_forward_pre_hook(before)
        try:
            yield
        finally:
            handle.remove()

    def hidden_of(self, model: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the last hidden states before the output layer, ``(sequence, token, width)``, from one forward."""
        seen: list[Tensor] = []
        with self.left_out(seen.append):
            run_model(model, input_ids, attention_mask)
        (hidden,) = seen
        return hidden


def output_layer(model: nn.Module, batch: Batch) -> OutputLayer | None:
    """Find the model's output layer and verify on one sequence that it alone maps hidden states to logits; else None.

    Args:
        model: The model, in evaluation mode.
        batch: Its first sequence is tried.

    Returns:
        None where the model has none that can be named, something more is done to its logits, the forward needs all of
        them, or the model is divided over processes or devices.
    """
    if is_tensor_parallel(model) or hasattr(model, "hf_device_map"):
        return None
    ids, mask = batch.input_ids[:1], batch.attention_mask[:1]
    with torch.no_grad():
        logits = tensor_of(run_model(model, ids, mask), "logits")
        if logits is None or logits.dim() != 3 or logits.shape[1] != ids.shape[1] or ids.shape[1] < 2:
            return None
        module = _last_layer(model, logits.shape[-1])
        if module is None or module._forward_hooks or module._forward_pre_hooks:
            return None
        found = OutputLayer(module, logits.shape[-1])
        seen: list[Tensor] = []
        try:
            with found.left_out(seen.append):
                last = tensor_of(run_model(model, ids, mask), "logits")
            if last is None or len(seen) != 1:
                return None
            own = module.forward(seen[0])
            same = _same(own, logits) and _same(last, logits[:, -1:])
        except Exception:  # a forward of the user's that needs all logits fails in a way of its own
            return None
    return found if same else None


def _last_layer(model: nn.Module, width: int) -> nn.Module | None:
    own = getattr(model, "get_output_embeddings", None)
    try:
        named = own() if callable(own) else None
    except Exception:  # a model of the user's may have the method and no answer
        named = None
    if isinstance(named, nn.Module):
        return named
    fitting = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == width]
    return fitting[-1] if fitting else None


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    scale = float(other.abs().nan_to_num(0).amax())
    gap = float((one - other).abs().amax())
    return gap <= ROUNDING * torch.finfo(other.dtype).eps * scale


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
