"""Measure gradient norms of each head, sizes of optimizer updates, norm gains, and the effect of weight decay on the
gains.

Statistics of query and key norm gains, and the change that weight decay alone would cause.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from heedful.interception.unrotated import FUSED, PAIRS
from heedful.monitoring.tracker.layer import Layer

PROJECTIONS = {
    "query": ("q_proj", "query"),
    "key": ("k_proj", "key"),
    "value": ("v_proj", "value"),
    "output": ("o_proj",),
}
"""Part to the names of the projection that gives it (of the output: takes it), head by head."""

Row = dict[str, Any]


def inner_optimizers(given: Any) -> list[torch.optim.Optimizer]:
    """Return the optimizers inside a list and inside accelerate's wrappers."""
    if given is None:
        return []
    if isinstance(given, Sequence):
        return [one for part in given for one in inner_optimizers(part)]
    while hasattr(given, "optimizer"):
        given = given.optimizer
    return [given]


def undivided(values: Tensor) -> Tensor:
    """Gather a tensor that is sharded over processes; every process must call this, in the same order."""
    return values.full_tensor() if isinstance(values, DTensor) else values


def shared_out(modules: Iterable[nn.Module]) -> bool:
    """Return whether any parameter of the modules is sharded over processes."""
    return any(isinstance(parameter, DTensor) for module in modules for parameter in module.parameters())


def gradient_rows(layer: Layer, module: nn.Module, scale: float) -> list[Row]:
    """Return gradient and weight norms of each head; needs separate projections with whole heads as rows or columns.

    A weight that is shared out over processes has none: to bring it together would cost what sharing saves.

    Args:
        layer: The layer.
        module: Its attention module.
        scale: Factor that gradients still carry.
    """
    rows = []
    children = dict(module.named_children())
    for part, names in PROJECTIONS.items():
        weight = next((children[n].weight for n in names if hasattr(children.get(n), "weight")), None)
        heads = layer.kv_heads if part in ("key", "value") else layer.heads
        if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.grad is None:
            continue
        axis = 1 if part == "output" else 0
        if weight.shape[axis] % heads or type(weight.grad) is not Tensor:
            continue
        norms = _by_head(weight.grad, heads, axis) / scale
        weights = _by_head(weight, heads, axis)
        for head, (gradient, size) in enumerate(zip(norms.tolist(), weights.tolist(), strict=True)):
            rows.append({"part": f"{part}_weight", "head": head, "gradient_norm": gradient, "weight_norm": size})
    return rows


@dataclass
class Updates:
    """Copy of the attention weights from before an optimizer's step, from which the size of the update is measured."""

    before: dict[tuple[str, str], tuple[nn.Parameter, Tensor]] = field(default_factory=dict)

    def begin(self, modules: Mapping[str, nn.Module]) -> None:
        """Copy the projection weights of the attention modules before the optimizer's step.

        Args:
            modules: Path to attention module.
        """
        self.before = {
            (path, part): (weight, weight.detach().clone())
            for path, module in modules.items()
            for part, weight in projection_weights(module).items()
        }

    def end(self) -> dict[str, Row]:
        """Return the size of each projection's update since ``begin``, as columns by module path; with sharded weights
        every process has to call.

        ``query_update`` is the Frobenius norm of the change of W_Q over that of W_Q itself, ``query_update_norm`` the
        change's; key, value and output likewise, and ``joint_...`` where one weight gives query, key and value.
        """
        rows: dict[str, Row] = {}
        for (path, part), (weight, before) in self.before.items():
            change, size = _norm(weight.detach() - before), _norm(before)
            found = {f"{part}_update": change / size if size else math.nan, f"{part}_update_norm": change}
            rows.setdefault(path, {}).update(found)
        self.before = {}
        return rows


def _norm(values: Tensor) -> float:
    with torch.no_grad():
        return float(undivided(torch.linalg.vector_norm(values, dtype=torch.float32)))


def projection_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return an attention module's projection weights by role: query, key, value, output, or ``joint`` for a fused
    projection.

    Args:
        module: The attention module.
    """
    children = dict(module.named_children())
    named = {**PROJECTIONS, "output": (*PROJECTIONS["output"], "dense", "c_proj", "out_proj"), "joint": FUSED}
    found = {}
    for part, names in named.items():
        weight = next((children[n].weight for n in names if hasattr(children.get(n), "weight")), None)
        if isinstance(weight, nn.Parameter) and weight.dim() == 2:
            found[part] = weight
    return found


def _by_head(values: Tensor, heads: int, axis: int) -> Tensor:
    with torch.no_grad():
        split = values.detach().unflatten(axis, (heads, -1)).movedim(axis, 0).flatten(1)
        return torch.linalg.vector_norm(split, dim=1, dtype=torch.float32)


def total_gradient(optimizers: Sequence[torch.optim.Optimizer], scale: float) -> float:
    """Return the norm of all gradients in the optimizers; NaN without gradients."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return math.nan
    return float(undivided(torch.nn.utils.get_total_norm(gradients))) / scale


@dataclass
class Gains:
    """Learned gains of query and key norms, beside the norms that weight decay alone would give them."""

    found: dict[tuple[str, str], nn.Parameter] = field(default_factory=dict)
    curves: dict[tuple[str, str], DecayCurve] = field(default_factory=dict)
    groups: list[tuple[DecayCurve, torch.optim.Optimizer, int]] = field(default_factory=list)

    def begin(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Find the model's query and key norm gains, and their optimizer groups.

        Args:
            model: The model.
            optimizers: Its optimizers; without one there are no curves.
        """
        self.found, self.curves, self.groups = {}, {}, []
        roles = {name: role for pair in PAIRS[:3] for name, role in zip(pair, ("query", "key"), strict=True)}
        for path, module in model.named_modules():
            parent, _, name = path.rpartition(".")
            gain = getattr(module, "weight", None)
            if name in roles and isinstance(gain, nn.Parameter):
                self.found[parent, roles[name]] = gain
        for place, gain in self.found.items():
            for optimizer in optimizers:
                for number, group in enumerate(optimizer.param_groups):
                    if any(gain is one for one in group["params"]):
                        curve = self.curves[place] = DecayCurve(gain_statistics(undivided(gain))["gain_norm"])
                        self.groups.append((curve, optimizer, number))

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """Record one optimizer step at the current learning rates of its groups."""
        for curve, owner, number in self.groups:
            if owner is not optimizer:
                continue
            group = owner.param_groups[number]
            decay = group.get("weight_decay", 0.0)
            decoupled = group.get("decoupled_weight_decay", not decay)
            curve.stepped(float(group["lr"]), float(decay) if decoupled else math.nan)

    def rows(self, path: str) -> list[Row]:
        """Return statistics of one attention module's norm gains; if gains are sharded, every process must call
        this.
        """
        rows = []
        for role in ("query", "key"):
            gain = self.found.get((path, role))
            if gain is not None:
                curve = self.curves.get((path, role))
                row = {"part": f"{role}_gain", "head": None, **gain_statistics(undivided(gain))}
                rows.append(row | {"gain_decay": math.nan if curve is None else curve.norm})
        return rows


def gain_statistics(gain: Tensor) -> dict[str, float]:
    """Return norm, mean, spread and range of a gain vector.

    Reading: with keys normalised to a root mean square of 1, the norm of the gain is the norm of a typical key.
    Pitfall: a gain c on keys and 1/c on queries leaves attention unchanged, so a gain alone is no temperature: read
    ``logit_sd``.

    Args:
        gain: ``(dim,)`` or ``(head * dim,)`` weights of the norm.

    Returns:
        ``gain_norm``, ``gain_mean``, ``gain_sd``, ``gain_min``, ``gain_max``.
    """
    with torch.no_grad():
        values = gain.detach().double().flatten()
        return {
            "gain_norm": float(values.norm()),
            "gain_mean": float(values.mean()),
            "gain_sd": float(values.std(correction=0)),
            "gain_min": float(values.min()),
            "gain_max": float(values.max()),
        }


@dataclass
class DecayCurve:
    r"""The norm that a parameter would have if only weight decay had changed it.

    .. math:: \lVert g_0\rVert \prod_t (1 - \eta_t \lambda)

    for decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101) at learning rate :math:`\eta_t`.

    Reading: a gain that falls along the curve is shrunk by the optimizer and not by what the model learnt.

    Attributes:
        start: Norm at the first step that was watched.
        share: Product so far; NaN where the optimizer couples decay with its gradient statistics.
    """

    start: float
    share: float = field(default=1.0)

    def stepped(self, learning_rate: float, weight_decay: float) -> None:
        """Apply the weight decay of one optimizer step.

        Args:
            learning_rate: That of the step.
            weight_decay: Decoupled decay of the parameter's group.
        """
        self.share *= 1.0 - learning_rate * weight_decay

    @property
    def norm(self) -> float:
        """Norm that the parameter would have after the steps so far if only weight decay had changed it."""
        return self.start * self.share
