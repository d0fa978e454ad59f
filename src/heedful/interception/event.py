"""One attention call as it happens in a running model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.interception.held_heads import HeldHeads


@dataclass(frozen=True, kw_only=True)
class AttentionEvent:
    """A captured attention call, before the kernel runs.

    Attributes:
        path: Path of the attention module in the model; ``#2``, ``#3`` ... follow where it is called again in one
            forward.
        module: The attention module.
        way: How the call was met: ``attention table: ...``, ``scaled_dot_product_attention``,
            ``nn.MultiheadAttention``, ``softmax``, or ``softmax alone`` where no product with values was seen.
        call: Query, key, value and rules.
        dropout: Probability with which the kernel drops weights; statistics are those before it.
        entering: ``(batch, position, width)`` representations that entered the module, or None if it took none.
        invocation: Number of the run of the module that makes the call; calls of one run are parts of one attention.
        follows: Whether its keys are those of the path's call before with more behind them.
        part: Which of the module's heads these are, where several processes divide them; None where they are all.
        run: The model's own kernel, ``run(value)`` with ``(batch, kv_head, key, value_dim)`` values (None: the model's)
            -> ``(batch, head, query, value_dim)``. The kernel draws random numbers if ``dropout`` is not 0.
    """

    path: str
    module: nn.Module
    way: str
    call: AttentionCall
    dropout: float
    entering: Tensor | None
    run: Callable[[Tensor | None], Tensor]
    part: HeldHeads | None = None
    invocation: int = 0
    follows: bool = False


Answer = Callable[[AttentionEvent], Tensor | None]
"""What is done with an event: None lets the model's own kernel run, a tensor ``(batch, head, query, value_dim)`` takes
its place."""
