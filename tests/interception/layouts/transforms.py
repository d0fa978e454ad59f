"""Attention under what torch does to functions and formats, and forwards that fail by themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import (
    EITHER,
    MET,
    Block,
    Case,
    Projected,
    Truth,
    layout,
    on_itself,
    seeded,
    truth_of,
)
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

LENGTH = 12


class WrittenAttention(Projected):
    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


class FusedAttention(WrittenAttention):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*self.headed(x)).transpose(1, 2).flatten(2)


class TorchAttention(WrittenAttention):
    """nn.MultiheadAttention of the same projections."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(16, 4, batch_first=True)
        with torch.no_grad():
            parts = (self.query, self.key, self.value)
            self.self_attn.in_proj_weight.copy_(torch.cat([one.weight for one in parts]))
            self.self_attn.in_proj_bias.copy_(torch.cat([one.bias for one in parts]))
            self.self_attn.out_proj.weight.copy_(torch.eye(16))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.self_attn(x, x, x, need_weights=False)[0]
        return found


FORMS: dict[str, type[WrittenAttention]] = {
    "written": WrittenAttention,
    "fused": FusedAttention,
    "torch": TorchAttention,
}
EACH: dict[str, dict[str, Any]] = {name: {"form": form} for name, form in FORMS.items()}


def ran(form: type[WrittenAttention], run: Callable[[WrittenAttention, Tensor], Any], **given: Any) -> Case:
    """A module run in a way of its own; what it puts out is not looked at head by head."""
    module, x = form(), seeded(3, LENGTH)
    truth = truth_of(module, x, place=None)
    return Case(module=module, run=lambda: run(module, x), truths=[truth], **given)


@layout(EITHER, **EACH)
def functional_called(form: type[WrittenAttention]) -> Case:
    """Other parameters than the module's own: the rows are those of the call."""
    other = copy.deepcopy(form())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3)
    parameters = {name: value.detach() for name, value in other.named_parameters()}
    case = ran(form, lambda module, x: functional_call(module, parameters, (x,)))
    case.truths = [truth_of(other, seeded(3, LENGTH), place=None)]
    return case


@layout(EITHER, **EACH)
def ensemble(form: type[WrittenAttention]) -> Case:
    """vmap over the parameters of three members."""
    members = [form() for _ in range(3)]
    state, x = stack_module_state(members), seeded(2, LENGTH)  # type: ignore[arg-type]
    base = members[0]

    def run() -> Tensor:
        found: Tensor = vmap(lambda p, b: functional_call(base, (p, b), (x,)))(*state)
        return found.detach()

    truth = truth_of(base, x, place=None)
    whole = [truth_of(member, x, place=None) for member in members]
    return Case(module=base, run=run, truths=[truth], others=(whole,), proved=False)


@layout(EITHER, **EACH)
def mapped_batch(form: type[WrittenAttention]) -> Case:
    """vmap over sequences of a module that takes one in a batch of one."""
    return ran(form, lambda module, x: vmap(lambda one: module(one[None])[0])(x))


class MappedInsideAttention(WrittenAttention):
    """The attention of one head is written for (n, d), and mapped over sequences and heads."""

    def forward(self, x: Tensor) -> Tensor:
        def one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return torch.softmax(q @ k.T / self.head_dim**0.5, -1) @ v

        q, k, v = self.headed(x)
        found: Tensor = vmap(vmap(one))(q, k, v)
        return found.transpose(1, 2).flatten(2)


class MappedSdpaAttention(WrittenAttention):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return vmap(F.scaled_dot_product_attention)(q, k, v).transpose(1, 2).flatten(2)


@layout(EITHER, written={"form": MappedInsideAttention}, fused={"form": MappedSdpaAttention})
def mapped_inside(form: type[WrittenAttention]) -> Case:
    case = on_itself(form(), 3, LENGTH)
    case.module = Block(case.module)
    return case


@layout(EITHER, **EACH)
def gradient_by_func(form: type[WrittenAttention]) -> Case:
    """torch.func.grad of a loss in the parameters."""

    def run(module: WrittenAttention, x: Tensor) -> Any:
        parameters = {name: value.detach() for name, value in module.named_parameters()}
        return grad(lambda p: functional_call(module, p, (x,)).square().sum())(parameters)

    return ran(form, run, proved=False)


@layout(EITHER, **EACH)
def jacobian(form: type[WrittenAttention]) -> Case:
    return ran(form, lambda module, x: jacrev(lambda given: module(given).sum((1, 2)))(x), proved=False)


@layout(EITHER, written=EACH["written"])
def forward_derivative(form: type[WrittenAttention]) -> Case:
    return ran(form, lambda module, x: jvp(module, (x,), (torch.ones_like(x),)), proved=False)


@layout(MET, **EACH)
def backward(form: type[WrittenAttention]) -> Case:
    """Gradients are those without a capture."""

    def run(module: WrittenAttention, x: Tensor) -> list[Tensor]:
        module.zero_grad()
        out = module(x)
        out.square().sum().backward()
        found = [p.grad.clone() for p in module.parameters() if p.grad is not None]
        module.zero_grad()
        return [*found, out]

    return ran(form, run, gradient=True, proved=False)


@layout(MET, reentrant={"reentrant": True}, plain={"reentrant": False})
def checkpointed(reentrant: bool) -> Case:
    """The forward runs again in the backward pass, and counts once."""

    def run(module: WrittenAttention, x: Tensor) -> list[Tensor]:
        given = x.clone().requires_grad_()
        out = checkpoint(module, given, use_reentrant=reentrant)
        out.sum().backward()
        module.zero_grad()
        return [out, given.grad]  # type: ignore[list-item]

    return ran(WrittenAttention, run, gradient=True, proved=False)


@layout(EITHER, **EACH)
def traced(form: type[WrittenAttention]) -> Case:
    """Traced while it is captured: the graph is the module's alone; torch's own has another path under hooks."""

    def run(module: WrittenAttention, x: Tensor) -> list[Tensor]:
        made = torch.jit.trace(module, x, check_trace=False)
        nodes = 0 if form is TorchAttention else len(list(made.inlined_graph.nodes()))
        return [made(x), torch.tensor(nodes)]

    return ran(form, run, proved=False)


@layout(MET, **EACH)
def compiled(form: type[WrittenAttention]) -> Case:
    module, x = form(), seeded(3, LENGTH)
    whole = torch.compile(module, backend="eager")
    path = "self_attn" if form is TorchAttention else None
    return Case(module=whole, inputs=(x,), truths=[truth_of(module, x, path=path)])


@layout(MET, **EACH)
def in_autocast(form: type[WrittenAttention]) -> Case:
    """bfloat16 by autocast: the rows are those of rounded queries and keys."""

    def run(module: WrittenAttention, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: Tensor = module(x)
        return found

    return ran(form, run, tolerance=3e-2)


@layout(
    MET,
    **{f"{name}_double": {"form": form, "dtype": torch.float64} for name, form in FORMS.items()},
    **{f"{name}_bfloat16": {"form": form, "dtype": torch.bfloat16} for name, form in FORMS.items()},
    written_half={"form": WrittenAttention, "dtype": torch.float16},
)
def in_format(form: type[WrittenAttention], dtype: torch.dtype) -> Case:
    module, x = form(), seeded(3, LENGTH)
    truth = truth_of(module, x)
    limit = 1e-3 if dtype == torch.float64 else 5e-2
    return Case(module=module.to(dtype), inputs=(x.to(dtype),), truths=[truth], tolerance=limit)


@layout(MET, **EACH)
def in_inference(form: type[WrittenAttention]) -> Case:
    def run(module: WrittenAttention, x: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = module(x)
        return found

    return ran(form, run)


class ComplexAttention(WrittenAttention):
    """Complex queries and keys; the real part of their products is the logit."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        q, k = (torch.view_as_complex(t.unflatten(-1, (-1, 2)).contiguous()) for t in (q, k))
        logits = (q @ k.conj().mT).real / self.head_dim**0.5
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


class ComplexValuesAttention(ComplexAttention):
    """Complex values too: the weights are cast to complex."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        v = torch.view_as_complex(v.unflatten(-1, (-1, 2)).contiguous())
        weights = (q @ k.mT / self.head_dim**0.5).softmax(-1)
        out = torch.view_as_real(weights.to(v.dtype) @ v).flatten(-2)
        return out.transpose(1, 2).flatten(2)


@layout(MET, queries={"form": ComplexAttention}, values={"form": ComplexValuesAttention, "outcome": EITHER})
def complex_numbers(form: type[WrittenAttention]) -> Case:
    return on_itself(form(), 3, LENGTH)


@layout(MET, **EACH)
def under_another_mode(form: type[WrittenAttention]) -> Case:
    """A dispatch mode of the user's runs inside."""

    def run(module: WrittenAttention, x: Tensor) -> Tensor:
        with FlopCounterMode(display=False), torch.device("cpu"):
            found: Tensor = module(x)
        return found

    return ran(form, run)


class Marked(Tensor):
    """A subclass of the user's."""


@layout(MET, **EACH)
def marked_tensors(form: type[WrittenAttention]) -> Case:
    return ran(form, lambda module, x: module(x.as_subclass(Marked)).as_subclass(Tensor))


@layout(EITHER, **EACH)
def on_no_device(form: type[WrittenAttention]) -> Case:
    """Shapes alone, on the meta device: nothing can be measured, and the forward runs."""
    module = form().to("meta")
    bare = Truth(weights=torch.full((3, 4, LENGTH, LENGTH), 1 / LENGTH), place=None)

    def run() -> tuple[int, ...]:
        return tuple(module(torch.empty(3, LENGTH, 16, device="meta")).shape)

    return Case(module=module, run=run, truths=[bare], proved=False)


@layout(EITHER, **{f"{name}_{axis}": {"form": form, "axis": axis} for name, form in FORMS.items() for axis in (0, 1)})
def nothing_entered(form: type[WrittenAttention], axis: int) -> Case:
    """No sequences, or sequences of no tokens, beside a run that has some."""
    module, x = form(), seeded(3, LENGTH)
    empty = x[:0] if axis == 0 else x[:, :0]
    truth = truth_of(module, x, place=None)

    def run() -> list[Tensor]:
        return [*([] if form is TorchAttention and axis == 1 else [module(empty)]), module(x)]

    return Case(module=module, run=run, truths=[truth])


class Failing(nn.Module):
    """Raises after the attention, inside it, or between its softmax and its product."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.attn, self.where = WrittenAttention(), where

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn.headed(x)
        weights = (q @ k.mT / 2).softmax(-1)
        if self.where == "between":
            raise RuntimeError("out of luck between softmax and product")
        out = self.attn(x)
        if self.where == "shapes":
            return weights @ v[..., :5, :]
        if self.where == "stop":
            raise StopIteration("out of luck after the attention")
        return out + weights.sum() + torch.linalg.cholesky(-torch.eye(3)).sum()


@layout(MET, **{where: {"where": where} for where in ("between", "shapes", "stop", "after")})
def failing(where: str) -> Case:
    return Case(module=Failing(where), inputs=(seeded(3, LENGTH),), raises=True)


class WronglyMaskedAttention(WrittenAttention):
    """A mask that does not broadcast."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.mask = way, torch.ones(3, 7, dtype=torch.bool)
        self.self_attn = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        q, k, v = self.headed(x)
        if self.way == "sdpa":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        if self.way == "sdpa_shapes":
            return F.scaled_dot_product_attention(q, k[..., :3], v)
        if self.way == "sdpa_arguments":
            return F.scaled_dot_product_attention(q, k, v, mask=self.mask)  # type: ignore[call-arg]
        if self.way == "sdpa_heads":
            return F.scaled_dot_product_attention(q, k[:, :3], v[:, :3])
        if self.way == "torch":
            return self.self_attn(x, x, x, key_padding_mask=self.mask)
        if self.way == "product":
            return (q @ k.mT).softmax(-1) @ v[:, :, :7]
        if self.way == "einsum":
            return torch.einsum("bhqk,bhqd,bhkd->bhqd", (q @ k.mT).softmax(-1), v[:, :, :7], v)
        return (q @ k.mT).masked_fill(self.mask, 0.0).softmax(-1) @ v


WAYS = ("sdpa", "sdpa_shapes", "sdpa_arguments", "sdpa_heads", "torch", "product", "einsum", "written")


@layout(MET, **{way: {"way": way} for way in WAYS})
def wrong_shapes(way: str) -> Case:
    """torch's own error, word for word."""
    module = WronglyMaskedAttention(way)  # with gradient: torch's fused path has errors of its own
    return Case(module=module, inputs=(seeded(3, LENGTH),), raises=True, gradient=True)


@layout(MET, **EACH)
def another_capture_around(form: type[WrittenAttention]) -> Case:
    """The user captures inside a capture."""
    import heedful

    def run(module: WrittenAttention, x: Tensor) -> Tensor:
        with heedful.capture(module):
            found: Tensor = module(x)
        return found

    return ran(form, run, proved=False)
