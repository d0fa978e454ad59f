"""Compute the gradient of each attention parameter in one backward pass, without changing ``.grad``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from heedful.distributed.sharded import whole_gradients
from heedful.evaluation.expected_effects import ExpectedEffects
from heedful.evaluation.objective import Objective
from heedful.evaluation.zero_init_gates import gates_of
from heedful.interception.uncompiled import plain_path
from heedful.loading.batch import Batch


@dataclass(frozen=True)
class ParameterGradient:
    """The gradient of one parameter after one backward pass.

    Attributes:
        name: Parameter path in the model.
        layer: Index of its attention module.
        frozen: Whether it does not require a gradient.
        norm: Euclidean norm of the gradient of the mean loss; NaN where frozen, 0 where it was not reached.
        nonzero: Share of entries that are not exactly 0.
        finite: Whether every entry is finite.
        gate: Name of a parameter of exactly 0 behind which it lies, so that it gets a gradient once that has moved; ""
            where there is none.
        elsewhere: Whether accelerate keeps its weights on disk or in memory until its layer runs: a backward gives the
            copy a gradient and the parameter none.
    """

    name: str
    layer: int
    frozen: bool
    norm: float
    nonzero: float
    finite: bool
    gate: str = ""
    elsewhere: bool = False


AT_ONCE = 128
"""Tokens, about, that go backward together: their activations and logits stand in memory at once."""


def attention_gradients(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    paths: Sequence[str],
    expected: ExpectedEffects | None = None,
) -> list[ParameterGradient]:
    """Return the gradient of the batch's mean loss for each parameter of the attention modules at ``paths``.

    ``torch.autograd.grad`` is used, so that no ``.grad`` of the model changes. Some tokens go backward at a time.

    Args:
        model: The model, in evaluation mode.
        objective: The loss.
        batch: The sequences.
        paths: Paths of the attention modules.
        expected: What equal weights would cost is gathered here from the same backward passes; None gathers nothing.
    """
    wanted: dict[str, tuple[int, nn.Parameter]] = {}
    modules = {plain_path(path): module for path, module in model.named_modules(remove_duplicate=False)}
    for layer, path in enumerate(paths):
        module = modules[path.split("#")[0]]
        for name, parameter in module.named_parameters():
            full = f"{path.split('#')[0]}.{name}" if path else name
            wanted.setdefault(full, (layer, parameter))
    live = {name: parameter for name, (_, parameter) in wanted.items() if _live(parameter)}
    gradients: dict[str, torch.Tensor | None] = {}
    if live or expected is not None:
        found = _backward(model, objective, batch, live, expected)
        gradients = whole_gradients(model, found) if live else {}
    described = [_described(name, layer, gradients.get(name), parameter) for name, (layer, parameter) in wanted.items()]
    dead = {g.name: live[g.name] for g in described if not g.frozen and g.finite and g.norm == 0.0}
    if not dead:
        return described
    gates = gates_of(model, objective, batch, dead)
    return [replace(g, gate=gates.get(g.name, "")) for g in described]


def _backward(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    live: dict[str, nn.Parameter],
    expected: ExpectedEffects | None,
) -> dict[str, torch.Tensor | None]:
    """Gradient of the mean loss of all sequences that have one, a few of them at a time."""
    found: dict[str, torch.Tensor | None] = dict.fromkeys(live)
    counted = objective.question(batch)[1].sum(1)
    defined = int((counted > 0).sum())
    together = max(1, AT_ONCE // max(1, batch.input_ids.shape[1]))
    for begin in range(0, len(batch.index), together):
        part = batch.rows(slice(begin, begin + together))
        tokens = counted[begin : begin + together]
        with torch.enable_grad():
            with expected.watching(model) if expected is not None else nullcontext():
                losses = objective.losses(model, part)
            total = losses[(tokens > 0).to(losses.device)].sum()
            outputs = expected.outputs if expected is not None else []
            wanted = [*live.values(), *outputs]
            given: Sequence[torch.Tensor | None]
            if total.requires_grad and wanted:
                given = torch.autograd.grad(total, wanted, allow_unused=True)
            else:
                given = [None] * len(wanted)
        for name, gradient in zip(live, given, strict=False):
            had = found[name]
            if gradient is not None:
                found[name] = gradient / defined if had is None else had + gradient / defined
        if expected is not None:
            expected.add(list(given[len(live) :]), tokens)
    return found


def _live(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad and not parameter.is_meta


def _described(name: str, layer: int, gradient: torch.Tensor | None, parameter: nn.Parameter) -> ParameterGradient:
    frozen = not parameter.requires_grad
    if gradient is None:
        norm = 0.0 if _live(parameter) else float("nan")
        return ParameterGradient(name, layer, frozen, norm, 0.0, True, elsewhere=parameter.is_meta)
    finite = bool(torch.isfinite(gradient).all())
    return ParameterGradient(
        name, layer, frozen, float(gradient.double().norm()), float((gradient != 0).double().mean()), finite
    )
