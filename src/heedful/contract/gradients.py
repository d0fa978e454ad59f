"""Test each layer by gradients: a backward of randomly weighted outputs finds all keys that a query depends on.

The stream is cut at each block's input, so that reach does not add over layers. What a block lets through beside its
attention (a convolution, a norm over time) is seen as well. A gradient of zero proves nothing: saturated weights and
quantised products have none; only keys that are seen and should not be are judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heedful.interception.uncompiled import module_at

_BLOCK = re.compile(r"(?:^|\.)\d+$")
SEEN = 1e-7
"""Gradient, relative to the largest of its row, above which a position is seen."""


@dataclass
class Cut:
    """One run of a block, with its input detached from the graph and its output.

    Attributes:
        path: Path of the block.
        entering: Its input, cut from the graph.
        leaving: Its output.
    """

    path: str
    entering: Tensor
    leaving: Tensor


@dataclass
class CutStream:
    """Detaches the hidden states at the input of every outermost block.

    Attributes:
        shape: ``(batch, position)`` of the stream.
        cuts: Runs of blocks, in their order.
    """

    shape: tuple[int, int]
    cuts: list[Cut] = field(default_factory=list)
    _open: list[tuple[str, Tensor]] = field(default_factory=list)

    def install(self, model: nn.Module, stack: ExitStack) -> None:
        """Install the hooks until ``stack`` is closed."""
        for path in blocks_of(model):
            module = module_at(model, path)
            for handle in (
                module.register_forward_pre_hook(self._enters(path), with_kwargs=True),
                module.register_forward_hook(self._leaves(path)),
            ):
                stack.callback(handle.remove)

    def _enters(self, path: str) -> Any:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            for place, value in enumerate(args[:1]):
                if self._is_stream(value):
                    leaf = value.detach().requires_grad_()
                    self._open.append((path, leaf))
                    return (leaf.clone(), *args[place + 1 :]), kwargs
            states: Any = kwargs.get("hidden_states")
            if self._is_stream(states):
                leaf = states.detach().requires_grad_()
                self._open.append((path, leaf))
                return args, {**kwargs, "hidden_states": leaf.clone()}
            return None

        return enter

    def _leaves(self, path: str) -> Any:
        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if not self._open or self._open[-1][0] != path:
                return
            _, leaf = self._open.pop()
            first = output[0] if isinstance(output, tuple | list) and output else output
            if self._is_stream(first) and first.requires_grad:
                self.cuts.append(Cut(path, leaf, first))

        return leave

    def _is_stream(self, value: Any) -> bool:
        return (
            isinstance(value, Tensor)
            and value.dim() == 3
            and value.is_floating_point()
            and tuple(value.shape[:2]) == self.shape
        )


def blocks_of(model: nn.Module) -> list[str]:
    """Return the paths of the outermost numbered modules, such as ``layers.0``."""
    found: list[str] = []
    for path, _ in model.named_modules():
        if _BLOCK.search(path) and not any(path.startswith(f"{outer}.") for outer in found):
            found.append(path)
    return found


def seen_positions(
    cuts: list[Cut], queries: Tensor, generator: torch.Generator, others: Sequence[Tensor] = ()
) -> tuple[Mapping[int, Tensor], list[bool]]:
    """Return the input positions of each block on which one query per sequence depends, bool ``(batch, position)`` by
    block index, and whether outputs depend on ``others``.

    Args:
        cuts: Runs of blocks.
        queries: ``(batch,)`` the query of each row.
        generator: Draws the weights of the outputs.
        others: Further tensors of the graph.

    Returns:
        Index of the cut to bool ``(batch, position)``, cuts without a gradient left out; and for each further tensor
        whether an output depends on it.
    """
    rows = torch.arange(len(queries), device=queries.device)
    total = None
    for cut in cuts:
        chosen = cut.leaving[rows.to(cut.leaving.device), queries.to(cut.leaving.device)].float()
        weights = torch.randn(chosen.shape, generator=generator).to(chosen.device)
        part = (chosen * weights).sum().cpu()
        total = part if total is None else total + part
    if total is None:
        return {}, [False] * len(others)
    wanted = [*(cut.entering for cut in cuts), *others]
    gradients = torch.autograd.grad(total, wanted, allow_unused=True, retain_graph=True)
    found = {}
    reached = [one is not None and bool((one != 0).any()) for one in gradients[len(cuts) :]]
    for index, gradient in enumerate(gradients[: len(cuts)]):
        if gradient is None:
            continue
        size = gradient.float().norm(dim=-1)
        largest = size.amax(dim=1, keepdim=True)
        if bool((largest > 0).all()) and bool(size.isfinite().all()):
            found[index] = size > SEEN * largest
    return found, reached
