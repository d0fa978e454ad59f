"""Find the zero-initialised parameters (gates), such as the second factor of LoRA, that block the gradients of other
parameters until they change.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from heedful.distributed.sharded import divided_like, whole, whole_gradients
from heedful.evaluation.objective import Objective
from heedful.loading.batch import Batch

ROUNDS = 3
"""Gates behind one another that are looked through: a low-rank update in a branch that is itself gated, say."""

TRIALS = 64
"""Gates that are tried one by one; beyond, the nearest by name is taken."""

LEAST, MOST = 0.01, 0.03
"""Values that a gate is opened to, drawn evenly between."""


class Opened(nn.Module):
    """Wrapper of a model in which some parameters are replaced for one forward; the model stays unchanged."""

    def __init__(self, model: nn.Module, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model

        @functools.wraps(model.forward)
        def forward(*args: Any, **keywords: Any) -> Any:
            return functional_call(model, dict(values), args, keywords)

        self.forward = forward


def gates_of(
    model: nn.Module, objective: Objective, batch: Batch, dead: Mapping[str, nn.Parameter], seed: int = 0
) -> dict[str, str]:
    """Return, for each parameter without gradient, the zero-initialised parameter that blocks it, by name.

    A gate is trainable, exactly 0 everywhere, gets a gradient itself, and with it opened the others get one too: a
    zero-initialised output projection, the scalar of ReZero (arXiv:2003.04887), the second factor of LoRA
    (arXiv:2106.09685). After the first step of training nothing behind it is dead.

    Args:
        model: The model; not touched.
        objective: The loss.
        batch: The batch on which gradients are zero.
        dead: Name to parameter of those whose gradient is exactly 0.
        seed: Seed of the values that gates are opened to.

    Returns:
        Name to name of its gate; without those that stay dead with every gate open.
    """
    zero = {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and p.is_floating_point() and not bool(whole(p.detach()).any())
    }
    draw = torch.Generator().manual_seed(seed)
    drawn = {
        name: divided_like(LEAST + (MOST - LEAST) * torch.rand(p.shape, generator=draw), p)
        for name, p in sorted(zero.items())
    }
    opened: dict[str, Tensor] = {}
    gates: dict[str, str] = {}
    for _ in range(ROUNDS + 1):
        shut = {name: p for name, p in zero.items() if name not in opened}
        waiting = {name: p for name, p in dead.items() if name not in gates}
        reached = _reached(model, objective, batch, opened, shut | waiting)
        revived = {name: waiting[name] for name in waiting if name in reached and opened}
        if revived:
            gates |= _named(model, objective, batch, opened, revived)
        if len(gates) == len(dead) or not reached & shut.keys():
            break
        opened |= {name: drawn[name] for name in shut if name in reached}
    return gates


def _reached(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    opened: Mapping[str, Tensor],
    asked: Mapping[str, nn.Parameter],
) -> set[str]:
    """Names of the parameters that get a gradient other than 0 with some gates open."""
    if not asked:
        return set()
    with torch.enable_grad():
        loss = objective.losses(Opened(model, opened) if opened else model, batch).nanmean()
        if not loss.requires_grad:
            return set()
        given = torch.autograd.grad(loss, list(asked.values()), allow_unused=True)
    found = whole_gradients(model, dict(zip(asked, given, strict=True)))
    return {name for name, gradient in found.items() if gradient is not None and bool(gradient.any())}


def _named(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    opened: Mapping[str, Tensor],
    revived: Mapping[str, nn.Parameter],
) -> dict[str, str]:
    """For each revived parameter a gate without which it is dead again, else the nearest by name."""
    first = next(iter(revived))
    near = sorted(opened, key=lambda name: (-_shared(name, first), name.endswith("bias"), name))
    gates: dict[str, str] = {}
    for gate in near[:TRIALS]:
        waiting = {name: p for name, p in revived.items() if name not in gates}
        if not waiting:
            break
        others = {name: value for name, value in opened.items() if name != gate}
        still = _reached(model, objective, batch, others, waiting)
        gates |= {name: gate for name in waiting if name not in still}
    rest = (name for name in revived if name not in gates)
    return gates | {name: max(opened, key=functools.partial(_shared, name)) for name in rest}


def _shared(one: str, other: str) -> int:
    """Number of leading parts that two paths share."""
    same = (a == b for a, b in zip(one.split("."), other.split("."), strict=False))
    return sum(1 for _ in itertools.takewhile(bool, same))
