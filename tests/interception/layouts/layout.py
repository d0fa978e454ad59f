"""What a layout is: a small module as people write it, what it is fed, and the weights that it truly has.

The weights are worked out beside the module, by loops over sequences and heads in float64. That they are the module's
own is itself tested: with the values they give the module's output, head by head, in the columns that the layout names.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

MET, EITHER, LISTED, SILENT = "met", "met or listed", "listed", "not claimed"
"""Every number right and replaced head by head; that, or told as not met; told as not met; told or passed over."""

TORCH_TELLS = (
    "There is a performance drop",
    "`torch.jit",
    "Converting a tensor",
    "Implicit dim",
    "The PyTorch API of n",
)
"""Beginnings of warnings that torch gives of itself to what these layouts do."""

SELF, CROSS, UNKNOWN = "self", "cross", "unknown"
"""Whether query ``i`` is key ``i``: masses by position are then right or null, null, or not looked at."""


def merged(output: Any) -> Tensor:
    """``(batch, query, head * dim)`` as it is; the number of heads is put in by ``Truth.heads_of``."""
    tensor: Tensor = output
    return tensor


@dataclass(kw_only=True)
class Truth:
    """The attention of one module in one run.

    Attributes:
        weights: ``(batch, head, query, key)``, 0 where hidden.
        value: ``(batch, head, key, value_dim)``.
        seen: Bool like the weights, False at hidden keys and in rows of padding.
        place: From the model's output to ``(batch, query, head * dim)`` or ``(batch, head, query, dim)``; None where
            the output does not show it.
        path: Path that it must be met at; None for any.
        related: Paths of which one must be named where it is not met, a prefix or an extension of them; None for any.
        positions: One of ``SELF``, ``CROSS`` and ``UNKNOWN``.
        offset: Key position of query 0.
        sequences: Number of sequences that it counts as.
        replaceable: Whether replacing one head must be exact.
        partial: Whether the rows sum to less than 1, a sink taking the rest.
    """

    weights: Tensor
    value: Tensor | None = None
    seen: Tensor | None = None
    place: Callable[[Any], Tensor] | None = merged
    path: str | None = None
    related: tuple[str, ...] | None = None
    positions: str = SELF
    offset: int = 0
    sequences: int | None = None
    replaceable: bool = True
    partial: bool = False

    @property
    def heads(self) -> int:
        return self.weights.shape[1]

    def visible(self) -> Tensor:
        return torch.ones_like(self.weights, dtype=torch.bool) if self.seen is None else self.seen

    def heads_of(self, output: Any) -> Tensor | None:
        """The model's output as ``(batch, head, query, value_dim)``."""
        if self.place is None:
            return None
        found = self.place(output)
        return found if found.dim() == 4 else found.unflatten(-1, (self.heads, -1)).transpose(1, 2)


@dataclass(kw_only=True)
class Case:
    """A module, what it is fed and its truth.

    Attributes:
        module: The model that is captured.
        inputs: Positional arguments, or keyword ones.
        truths: One a module call, in the order of calls.
        others: Further lists of truths that are as right.
        run: What is run in place of ``module(*inputs)``.
        tolerance: Largest difference of a statistic that is right.
        gradient: Whether it runs with gradient.
        raises: Whether the forward raises by itself.
        proved: Whether ``verify`` is asked too.
        training: Whether the module is in training.
    """

    module: nn.Module
    inputs: Any = ()
    truths: list[Truth] = field(default_factory=list)
    others: tuple[list[Truth], ...] = ()
    run: Callable[[], Any] | None = None
    tolerance: float = 1e-3
    gradient: bool = False
    raises: bool = False
    proved: bool = True
    training: bool = False

    def runs(self) -> Any:
        """One run, without what torch has to say of its own."""
        with warnings.catch_warnings():
            for summary in TORCH_TELLS:
                warnings.filterwarnings("ignore", message=summary)
            return self._runs()

    def _runs(self) -> Any:
        if self.run is not None:
            return self.run()
        if isinstance(self.inputs, dict):
            return self.module(**self.inputs)
        return self.module(*self.inputs)


@dataclass(frozen=True)
class Layout:
    name: str
    outcome: str
    room: str
    make: Callable[[], Case]


LAYOUTS: dict[str, Layout] = {}


def layout(outcome: str, **named: dict[str, Any]) -> Callable[[Callable[..., Case]], Callable[..., Case]]:
    """Register a function that makes a case.

    Args:
        outcome: What is expected of it.
        **named: Variants, suffix to keyword arguments; ``outcome`` among them is that of the variant alone.
    """

    def register(make: Callable[..., Case]) -> Callable[..., Case]:
        room = make.__module__.rpartition(".")[2]
        for suffix, given in (named or {"": {}}).items():
            name = f"{make.__name__}_{suffix}".rstrip("_")
            own = {key: value for key, value in given.items() if key != "outcome"}
            assert name not in LAYOUTS, name
            LAYOUTS[name] = Layout(name, given.get("outcome", outcome), room, partial(seeded_make, make, own))
        return make

    return register


def seeded_make(make: Callable[..., Case], given: dict[str, Any]) -> Case:
    """The same weights whatever ran before."""
    torch.manual_seed(11)
    case = make(**given)
    case.module.eval() if not case.training else case.module.train()
    return case


class Projected(nn.Module):
    """Three projections without more; a subclass writes the attention.

    Args:
        heads: Number of heads.
        dim: Width of a head.
        kv_heads: Number of key heads.
        called: Attribute by which the module names its number of heads; None where it names none.
        width: Width of what enters.
        sharpness: Factor of the weights.
    """

    def __init__(
        self,
        heads: int = 4,
        dim: int = 4,
        *,
        kv_heads: int | None = None,
        called: str | None = None,
        width: int = 16,
        sharpness: float = 3.0,
    ) -> None:
        super().__init__()
        self.head_dim = dim
        self.query = nn.Linear(width, heads * dim)
        self.key = nn.Linear(width, (kv_heads or heads) * dim)
        self.value = nn.Linear(width, (kv_heads or heads) * dim)
        with torch.no_grad():
            self.query.weight.mul_(sharpness)
        if called is not None:
            setattr(self, called, heads)

    def projected(self, x: Tensor, source: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """``(batch, position, head * dim)`` each."""
        source = x if source is None else source
        return self.query(x), self.key(source), self.value(source)

    def split(self, x: Tensor, source: Tensor | None = None) -> list[Tensor]:
        """``(batch, position, head, dim)`` each."""
        return [t.unflatten(-1, (-1, self.head_dim)) for t in self.projected(x, source)]

    def headed(self, x: Tensor, source: Tensor | None = None) -> list[Tensor]:
        """``(batch, head, position, dim)`` each."""
        return [t.transpose(1, 2) for t in self.split(x, source)]


def seeded(batch: int, length: int, width: int = 16, seed: int = 7) -> Tensor:
    """``(batch, length, width)`` of the normal distribution."""
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(seed))


def head_by_head(linear: nn.Linear, x: Tensor, dim: int) -> Tensor:
    """``(batch, head, position, dim)`` of one projection, each head from its own rows of the weight."""
    heads = linear.out_features // dim
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    rows = [slice(head * dim, (head + 1) * dim) for head in range(heads)]
    x = x.double()
    return torch.stack([x @ linear.weight[one].double().T + bias[one].double() for one in rows], 1).detach()


def weights_by_loops(
    q: Tensor,
    k: Tensor,
    *,
    bias: Tensor | None = None,
    seen: Tensor | None = None,
    scale: float | None = None,
    read: Sequence[int] | None = None,
) -> Tensor:
    """``(batch, head, query, key)`` weights, one sequence, head and row after the other.

    Args:
        q: ``(batch, head, query, dim)``.
        k: ``(batch, kv_head, key, dim)``.
        bias: Added to the logits, like the weights or broadcastable to them.
        seen: Bool, True where a key is visible; rows that see none are 0.
        scale: Factor of the products; None for the usual one.
        read: Which key head each head reads; None for ``head // group``.
    """
    batch, heads, queries, _ = q.shape
    keys, group = k.shape[2], q.shape[1] // k.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    whole = (batch, heads, queries, keys)
    bias = torch.zeros(1, dtype=torch.float64) if bias is None else bias.double().detach()
    seen = torch.ones(1, dtype=torch.bool) if seen is None else seen
    bias, seen = bias.expand(whole), seen.expand(whole)
    found = torch.zeros(whole, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            kv = h // group if read is None else read[h]
            for i in range(queries):
                logits = (k[b, kv].double() * q[b, h, i].double()).sum(-1) * scale + bias[b, h, i]
                if bool(seen[b, h, i].any()):
                    logits = logits - logits[seen[b, h, i]].max()
                    e = torch.where(seen[b, h, i], logits.exp(), 0.0)
                    found[b, h, i] = e / e.sum()
    return found.detach()


def truth_of(
    module: Projected,
    x: Tensor,
    source: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    seen: Tensor | None = None,
    real: Tensor | None = None,
    scale: float | None = None,
    read: Sequence[int] | None = None,
    **more: Any,
) -> Truth:
    """The truth of a ``Projected`` module.

    Args:
        module: The module.
        x: What the queries come from, ``(batch, position, width)``.
        source: What the keys come from; None for the same.
        bias: Added to the logits.
        seen: True at visible keys, for all rows, padded ones too.
        real: ``(batch, query)``, False in rows of padding.
        scale: Factor of the products.
        read: Which key head each head reads.
        **more: Further attributes of the truth.
    """
    source = x if source is None else source
    q, k, v = (
        head_by_head(linear, given, module.head_dim)
        for linear, given in ((module.query, x), (module.key, source), (module.value, source))
    )
    group = q.shape[1] // k.shape[1]
    chosen = [head // group for head in range(q.shape[1])] if read is None else list(read)
    weights = weights_by_loops(q, k, bias=bias, seen=seen, scale=scale, read=chosen)
    shown = torch.ones_like(weights, dtype=torch.bool) if seen is None else seen.expand(weights.shape).clone()
    if real is not None:
        shown = shown & real[:, None, :, None]
    if x is not source:
        more.setdefault("positions", CROSS)
    return Truth(weights=weights, value=v[:, chosen], seen=shown, **more)


def on_itself(module: Projected, batch: int, length: int, **more: Any) -> Case:
    """A self-attention module that takes one ``(batch, length, width)`` input."""
    x = seeded(batch, length, module.query.in_features)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x, **more)])


class Block(nn.Module):
    """Holds an attention as a child, and passes on what it is given."""

    def __init__(self, attn: nn.Module) -> None:
        super().__init__()
        self.attn = attn

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.attn(*args, **kwargs)
