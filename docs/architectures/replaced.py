"""Whether a replacement of head 0 touches head 0 alone, read off what follows the attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import heedful
from architectures.case import Batch

Entered = list[tuple[str, list[Tensor]]]
"""Path of each module in the order of calls, and the floating tensors that entered it."""

CLOSE = 1e-4
"""Changes below this share of the largest are rounding."""


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.dim() >= 2:
            yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _copies(value: Any) -> list[Tensor]:
    """Copies that no function mode sees made: looking on must not change how an attention is met."""
    with torch._C.DisableTorchFunction():
        return [tensor.detach().clone() for tensor in _tensors(value)]


@contextmanager
def _looking(model: nn.Module, look: Callable[[str, Any], None]) -> Iterator[None]:
    """Show what enters every module without children, and what multi-head attention puts out, in order."""
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            after = partial(_after, look, path)
            handles.append(module.register_forward_hook(after))
        elif not any(True for _ in module.children()):
            handles.append(module.register_forward_pre_hook(partial(_before, look, path)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before(look: Callable[[str, Any], None], path: str, module: nn.Module, args: Any) -> None:
    look(path, args)


def _after(look: Callable[[str, Any], None], path: str, module: nn.Module, args: Any, output: Any) -> None:
    look(path, output[:1] if isinstance(output, tuple) else output)


def entering(model: nn.Module, batch: Batch) -> Entered:
    """What enters every module without children in one forward."""
    seen: Entered = []
    torch.manual_seed(5)
    with torch.no_grad(), _looking(model, lambda path, value: seen.append((path, _copies(value)))):
        model(**batch.inputs)
    return seen


@dataclass
class _First:
    """The first difference from what entered before.

    Attributes:
        plain: What entered before.
        place: How many modules were called.
        path: Module that another input entered first, once one did.
        gap: The difference; None where the forms differ.
    """

    plain: Entered
    place: int = 0
    path: str | None = None
    gap: Tensor | None = None

    def look(self, path: str, value: Any) -> None:
        """Compare one module's inputs with those before."""
        if self.path is not None:
            return
        name, before = self.plain[self.place]
        self.place += 1
        with torch._C.DisableTorchFunction():
            after = list(_tensors(value))
            if name != path or [one.shape for one in before] != [one.shape for one in after]:
                self.path = path
                return
            for one, two in zip(before, after, strict=True):
                gap = one - two.detach()
                if gap.numel() and float(gap.abs().max()) > CLOSE * float(one.abs().max()):
                    self.path, self.gap = path, gap
                    return


def only_first_head(
    model: nn.Module, batch: Batch, plain: Entered, path: str, heads: int, interleaved: bool
) -> bool | None:
    """Whether what first changes after ``replace(heads=[0])`` of a module changes in the columns of head 0 alone.

    Returns:
        None where what follows the attention does not hold its heads side by side.
    """
    first = _First(plain)
    torch.manual_seed(5)
    with heedful.replace(model, "zero", layers=[path], heads=[0]), torch.no_grad(), _looking(model, first.look):
        model(**batch.inputs)
    if first.path is None or first.gap is None:
        return False
    gap = first.gap
    if interleaved:
        gap = gap.unflatten(-1, (-1, heads)).transpose(-1, -2).flatten(-2)
    modules = dict(model.named_modules())
    return _in_first(modules[first.path], modules[path], gap, heads)


def _in_first(module: nn.Module, attention: nn.Module, gap: Tensor, heads: int) -> bool | None:
    projects = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    projected = _projection(attention, heads)
    if not projects and projected is not None and gap.shape[-1] == projected.shape[0]:
        left = gap.reshape(-1, gap.shape[-1]).double().T
        inside = projected @ torch.linalg.lstsq(projected, left).solution
        return bool((inside - left).abs().max() < 1e-3 * left.abs().max())
    if isinstance(module, nn.Conv1d):
        gap = gap.transpose(1, 2)
    axis = next((axis for axis in (1, 2) if gap.dim() == 4 and gap.shape[axis] == heads and not projects), None)
    if axis is not None:
        by_head = gap.abs().amax(dim=tuple(other for other in range(4) if other != axis))
    elif gap.shape[-1] % heads == 0:
        by_head = gap.abs().reshape(-1, heads, gap.shape[-1] // heads).amax(dim=(0, 2))
    else:
        return None
    alone = bool(by_head[0] > 0) and bool((by_head[1:] <= CLOSE * by_head[0]).all())
    return None if not alone and not projects else alone


def _projection(attention: nn.Module, heads: int) -> Tensor | None:
    """Columns of head 0 in the projection that an attention module applies to its heads without calling a module."""
    weight = getattr(getattr(attention, "out_proj", None), "weight", None)
    if isinstance(weight, Tensor) and weight.dim() == 2:
        return weight[:, : weight.shape[1] // heads].detach().double()
    weight = getattr(attention, "o", None)
    if isinstance(weight, nn.Parameter) and weight.dim() == 3:
        return weight[:, 0].detach().double()
    return None
