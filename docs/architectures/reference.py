"""What a model's own attention weights say, by code that shares nothing with heedful.

Weights come from where the model shows them: returned by a module, out of its softmax, or computed here from the
arguments of its ``scaled_dot_product_attention``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

LEAST_KEYS = 8
"""Rows that see fewer keys are not judged."""

NEAR = 5
"""Keys at most this far away are near."""

UNSEEN = 1e-30
"""A weight below this is of a hidden key: additive masks of -100 leave 1e-44, seen keys far more."""

HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
"""Attributes by which modules name their number of heads."""

SOFTMAX = {torch.softmax, Tensor.softmax, F.softmax, torch.special.softmax}
MULTIHEAD = F.multi_head_attention_forward


@dataclass
class Weights:
    """One attention's weights as the model shows them.

    Attributes:
        paths: Modules that returned them, or ran when they were computed; innermost first.
        values: ``(batch, head, query, key)``, or with fewer or more axes as the model has them.
        shown: ``returned``, ``softmax`` or ``kernel``.
        classes: Class names of those modules.
        heads: Number of heads as the module names it; 0 where it does not.
    """

    paths: list[str]
    values: Tensor
    shown: str
    classes: list[str]
    heads: int = 0


@dataclass
class Watched:
    """Everything seen in one forward.

    Attributes:
        weights: In the order of the calls.
        entered: Path to number of positions that entered the module.
    """

    weights: list[Weights] = field(default_factory=list)
    entered: dict[str, int] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    heads: dict[str, Any] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)

    def note(self, values: Tensor, shown: str) -> None:
        """Add one attention's weights; of five axes or more the one of heads is found by the number of heads."""
        values = values.detach()
        declared = next((self.heads[path] for path in self.running[:-4:-1] if self.heads[path]), 0)
        axes = [axis for axis in range(1, values.dim() - 2) if values.shape[axis] == declared]
        if values.dim() > 4:
            values = values.movedim(axes[0], -3) if len(axes) == 1 else values
            values = values.flatten(0, values.dim() - 4)
        known = declared if isinstance(declared, int) else 0
        self.weights.append(Weights(self.running[::-1], values, shown, self.classes(), known))

    def classes(self) -> list[str]:
        """Class names of the running modules, innermost first."""
        return [self.names[path] for path in self.running[::-1]]


class _Kernels(TorchFunctionMode):
    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self.watched = watched

    def note(self, values: Tensor, shown: str) -> None:
        self.watched.note(values, shown)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is MULTIHEAD:
            kwargs = {**kwargs, "need_weights": True, "average_attn_weights": False}
        result = func(*args, **kwargs)
        if func is MULTIHEAD:
            self.note(result[1], "returned")
            self.watched.noted.add(self.watched.running[-1])
        elif func in SOFTMAX:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if result.dim() > 2 and dim in (-1, result.dim() - 1):
                self.note(result, "softmax")
        elif func is F.scaled_dot_product_attention:
            self.note(kernel_weights(*args, **kwargs), "kernel")
        return result


def kernel_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights of one ``scaled_dot_product_attention``."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    logits = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        logits = logits.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits.softmax(-1)


def _are_weights(found: Any) -> bool:
    if not isinstance(found, Tensor) or found.dim() not in (4, 5) or not found.is_floating_point() or not found.numel():
        return False
    sums = found.sum(-1)
    return bool((found >= 0).all() and (sums < 1.001).all() and sums.max() > 0.5)


def _returned(output: Any) -> Iterator[Tensor]:
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        for found in output:
            if _are_weights(found):
                yield found


@contextmanager
def watching(model: nn.Module) -> Iterator[Watched]:
    """Gather the weights that a model shows while it runs."""
    watched, handles = Watched(), []
    by_tensor: dict[int, Tensor] = {}

    def enter(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            watched.running.append(path)
            for value in (kwargs.get("hidden_states"), *args, *kwargs.values()):
                if isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 3:
                    watched.entered[path] = watched.entered.get(path, 0) + value.shape[0] * value.shape[1]
                    return

        return hook

    def leave(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for values in () if path in watched.noted else _returned(output):
                if id(values) not in by_tensor:
                    by_tensor[id(values)] = values  # kept, so that no other tensor gets its number
                    watched.note(values, "returned")
            watched.running.pop()

        return hook

    for path, module in model.named_modules():
        watched.names[path] = type(module).__name__
        watched.heads[path] = next((getattr(module, name) for name in HEAD_COUNTS if hasattr(module, name)), 0)
        if not isinstance(module, torch.jit.ScriptModule):
            handles.append(module.register_forward_pre_hook(enter(path), with_kwargs=True))
            handles.append(module.register_forward_hook(leave(path), always_call=True))
    try:
        with _Kernels(watched):
            yield watched
    finally:
        for handle in handles:
            handle.remove()


def plain_mean(values: Tensor, judged: Tensor) -> Tensor:
    """Mean over judged rows that have a number, ``(batch, head)``; NaN where there is none."""
    return values.masked_fill(~judged, torch.nan).nanmean(-1)


def statistics(weights: Tensor, real: Tensor, start: int | None) -> dict[str, Tensor]:
    """Every statistic of ``heads()``, ``(batch, head)``, from weights.

    Args:
        weights: ``(batch, head, query, key)``.
        real: ``(batch, query)`` bool.
        start: Key position of query 0; None where queries stand nowhere among the keys.
    """
    a = weights.double()
    seen = (a > UNSEEN) & real[:, None, :, None]
    a = a.masked_fill(~seen, 0.0)
    n = seen.sum(-1)
    judged = n >= LEAST_KEYS
    total = a.sum(-1)
    entropy = -(a * a.clamp_min(1e-300).log()).sum(-1)
    own = (entropy / total + total.log()).clamp_min(0)
    keys = torch.arange(a.shape[-1])
    first = seen.any(1).any(1).int().argmax(-1)[:, None, None, None].expand(*a.shape[:3], 1)
    rows = {
        "row_entropy": entropy,
        "concentration": (n.double().log() - own).clamp_min(0),
        "effective_keys": own.exp(),
        "visible_share": (own.exp() / n).clamp_max(1),
        "max_weight": a.max(-1).values,
        "sink_mass": a.gather(-1, first)[..., 0],
    }
    self_mass = torch.full_like(entropy, torch.nan)
    previous, near = self_mass.clone(), self_mass.clone()
    if start is not None:
        distance = torch.arange(a.shape[-2])[:, None] + start - keys[None, :]
        own_key, before = (distance == 0) & torch.ones_like(seen), (distance == 1) & seen
        self_mass = (a * own_key).sum(-1)
        previous = (a * before).sum(-1).masked_fill(~before.any(-1), torch.nan)
        near = (a * (distance.abs() <= NEAR)).sum(-1)
    rows |= {"self_mass": self_mass, "previous_mass": previous, "local_mass": near}
    diagonal, others = self_mass.nan_to_num(), max(a.shape[-1] - 1, 1)
    square = ((a**2).sum(-1) - diagonal**2) / others - ((total - diagonal) / others) ** 2
    rows["row_std_seed"] = square.clamp_min(0).sqrt()
    return {name: plain_mean(values, judged) for name, values in rows.items()}
