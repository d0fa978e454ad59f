"""Hidden keys in every form in which they are hidden, and finite logits that hide nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tests.interception.layouts.layout import EITHER, MET, Case, Projected, Truth, layout, on_itself, seeded, truth_of
from tests.interception.layouts.layout import weights_by_loops as by_loops
from torch import Tensor, nn

LENGTH = 16
Hide = Callable[[Tensor, Tensor], Tensor]


def causal(length: int = LENGTH) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


class HidingAttention(Projected):
    """Scaled logits and what may be seen go into one function, its result into a softmax."""

    def __init__(self, hide: Hide, seen: Tensor, factor: float = 1.0) -> None:
        super().__init__(4, 4, called="num_heads", sharpness=3.0 * factor)
        self.hide = hide
        self.register_buffer("seen", seen)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = self.hide(q @ k.mT / self.head_dim**0.5, self.seen)
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


def filled(value: float) -> Hide:
    return lambda logits, seen: logits.masked_fill(~seen, value)


def added(value: float) -> Hide:
    return lambda logits, seen: logits + (~seen) * value


def chosen(value: float) -> Hide:
    return lambda logits, seen: torch.where(seen, logits, torch.tensor(value))


def in_place(logits: Tensor, seen: Tensor) -> Tensor:
    return logits.masked_fill_(~seen, float("-inf"))


def multiplied(logits: Tensor, seen: Tensor) -> Tensor:
    """w * b - 1e4 * (1 - b)."""
    b = seen.to(logits.dtype)
    return logits * b - 1e4 * (1 - b)


def log_of_mask(logits: Tensor, seen: Tensor) -> Tensor:
    return logits + seen.to(logits.dtype).log()


def smallest(logits: Tensor, seen: Tensor) -> Tensor:
    return logits.masked_fill(~seen, torch.finfo(logits.dtype).min)


def smallest_added(logits: Tensor, seen: Tensor) -> Tensor:
    return logits + (1.0 - seen.float()) * torch.finfo(logits.dtype).min


def smallest_twice(logits: Tensor, seen: Tensor) -> Tensor:
    """Two masks of the smallest number are added, and some sums are -inf."""
    mask = (1.0 - seen.float()) * torch.finfo(logits.dtype).min
    return logits + mask + mask


def assigned(logits: Tensor, seen: Tensor) -> Tensor:
    logits[:, :, ~seen] = -1e9
    return logits


def triangle_added(logits: Tensor, seen: Tensor) -> Tensor:
    return logits + torch.full_like(seen, float("-inf"), dtype=torch.float32).triu(1)


def scaled_after(logits: Tensor, seen: Tensor) -> Tensor:
    """The mask is added before the division."""
    return (logits * 2 + (~seen) * -1e9) / 2


def shifted(logits: Tensor, seen: Tensor) -> Tensor:
    """The maximum is taken off after the mask was added."""
    logits = logits.masked_fill(~seen, -1e9)
    return logits - logits.amax(-1, keepdim=True)


def capped(logits: Tensor, seen: Tensor) -> Tensor:
    """tanh is for the oracle to know: the identity within rounding at small logits, so the cap is wide."""
    return (1e4 * torch.tanh(logits / 1e4)).masked_fill(~seen, float("-inf"))


HIDES: dict[str, Hide] = {
    "filled_inf": filled(float("-inf")),
    "filled_1e20": filled(-1e20),
    "filled_1e9": filled(-1e9),
    "filled_1e4": filled(-1e4),
    "filled_65504": filled(-65504.0),
    "filled_1000": filled(-1000.0),
    "filled_100": filled(-100.0),
    "added_1e9": added(-1e9),
    "added_1e4": added(-1e4),
    "added_100": added(-100.0),
    "chosen_inf": chosen(float("-inf")),
    "chosen_1e10": chosen(-1e10),
    "in_place": in_place,
    "multiplied": multiplied,
    "log_of_mask": log_of_mask,
    "smallest": smallest,
    "smallest_added": smallest_added,
    "smallest_twice": smallest_twice,
    "assigned": assigned,
    "triangle_added": triangle_added,
    "scaled_after": scaled_after,
    "shifted": shifted,
    "capped": capped,
}


@layout(MET, **{name: {"hide": hide} for name, hide in HIDES.items()})
def hidden(hide: Hide) -> Case:
    return on_itself(HidingAttention(hide, causal()), 3, LENGTH, seen=causal())


def strictly_causal() -> Tensor:
    return torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril(-1)


def off_diagonal() -> Tensor:
    return ~torch.eye(LENGTH, dtype=torch.bool)


def band() -> Tensor:
    at = torch.arange(LENGTH)
    return (at[:, None] - at).abs() <= 4


def prefix() -> Tensor:
    seen = causal()
    seen[:, :9] = True
    return seen


def blocks() -> Tensor:
    at = torch.arange(LENGTH) // 8
    return at[:, None] == at


def dilated() -> Tensor:
    at = torch.arange(LENGTH)
    return (at[:, None] - at) % 2 == 0


def last_row_empty() -> Tensor:
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool)
    seen[-1] = False
    return seen


@layout(
    MET,
    strictly_causal={"rule": strictly_causal, "hide": filled(-1e9)},
    off_diagonal={"rule": off_diagonal, "hide": filled(float("-inf"))},
    off_diagonal_5e4={"rule": off_diagonal, "hide": filled(-5e4)},
    band={"rule": band, "hide": filled(float("-inf"))},
    prefix={"rule": prefix, "hide": filled(float("-inf"))},
    blocks_100={"rule": blocks, "hide": added(-100.0)},
    dilated={"rule": dilated, "hide": smallest},
    empty_row_smallest={"rule": last_row_empty, "hide": smallest},
    empty_row_inf={"rule": last_row_empty, "hide": filled(float("-inf"))},
    strictly_causal_inf={"rule": strictly_causal, "hide": filled(float("-inf"))},
)
def rule(rule: Callable[[], Tensor], hide: Hide) -> Case:
    return on_itself(HidingAttention(hide, rule()), 3, LENGTH, seen=rule())


class BiasedAttention(Projected):
    """A finite bias, whatever its size, hides nothing."""

    def __init__(self, bias: Tensor, seen: Tensor | None, value: float, together: bool = False) -> None:
        super().__init__(4, 4, called="num_heads")
        self.bias, self.shown, self.value_of_hidden, self.together = bias, seen, value, together

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = q @ k.mT / self.head_dim**0.5
        mask = torch.zeros(1) if self.shown is None else torch.where(self.shown, 0.0, self.value_of_hidden)
        logits = logits + (self.bias + mask) if self.together else logits + self.bias + mask
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


def slopes(steepest: float) -> Tensor:
    """ALiBi of four heads; distances go to 15."""
    at = torch.arange(LENGTH)
    return -torch.tensor([steepest / 2**h for h in range(4)])[:, None, None] * (at[:, None] - at).abs()


def learned() -> Tensor:
    return torch.randn(4, LENGTH, LENGTH, generator=torch.Generator().manual_seed(2)) * 3


def deep(lowest: float) -> Tensor:
    """A bias, some of whose entries are far down and still a bias: every entry another number."""
    drawn = torch.rand(4, LENGTH, LENGTH, generator=torch.Generator().manual_seed(2))
    return lowest * drawn


@layout(
    MET,
    alibi={"bias": lambda: slopes(0.5)},
    alibi_causal={"bias": lambda: slopes(0.5), "seen": causal, "value": float("-inf")},
    alibi_causal_1e4={"bias": lambda: slopes(0.5), "seen": causal, "value": -1e4},
    alibi_steep={"bias": lambda: slopes(500 / 15)},
    alibi_steep_causal={"bias": lambda: slopes(500 / 15), "seen": causal, "value": -1e9},
    learned={"bias": learned},
    learned_100={"bias": learned, "seen": blocks, "value": -100.0},
    learned_100_together={"bias": learned, "seen": blocks, "value": -100.0, "together": True},
    learned_1e4_together={"bias": learned, "seen": causal, "value": -1e4, "together": True},
    deep_to_50={"bias": lambda: deep(-50.0)},
    deep_to_5000={"bias": lambda: deep(-5000.0)},
    deep_to_20000={"bias": lambda: deep(-20000.0)},
)
def bias(
    bias: Callable[[], Tensor],
    seen: Callable[[], Tensor] | None = None,
    value: float = 0.0,
    together: bool = False,
) -> Case:
    rule = None if seen is None else seen()
    return on_itself(BiasedAttention(bias(), rule, value, together), 3, LENGTH, bias=bias(), seen=rule)


class DistanceAttention(nn.Module):
    """Minus squared distances are the logits, of any size."""

    num_heads = 1

    def __init__(self, seen: Tensor | None) -> None:
        super().__init__()
        self.value = nn.Linear(3, 4)
        self.seen = seen

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits = -torch.cdist(x, y).square()[:, None]
        if self.seen is not None:
            logits = logits.masked_fill(~self.seen, float("-inf"))
        return (logits.softmax(-1) @ self.value(y)[:, None])[:, 0]


@layout(MET, near={"away": 1.0}, far={"away": 60.0}, very_far={"away": 400.0}, masked={"away": 60.0, "rule": causal})
def distances(away: float, rule: Callable[[], Tensor] | None = None) -> Case:
    """With ``away`` 60 the logits are near -1e4, with 400 near -5e5, and differ by little."""
    x = seeded(2, LENGTH, 3) * 0.3
    y = (seeded(2, LENGTH, 3, 5) * 0.02 + away).double().float()
    seen = None if rule is None else rule()
    module = DistanceAttention(seen)
    logits = -(x.double()[:, :, None] - y.double()[:, None]).square().sum(-1)
    ones = torch.ones(2, 1, LENGTH, 1, dtype=torch.float64)
    weights = by_loops(ones * 0, ones, bias=logits[:, None], seen=seen, scale=1.0)
    shown = None if seen is None else seen.expand_as(weights)
    truth = Truth(weights=weights, value=module.value(y).detach()[:, None], seen=shown, positions="cross")
    return Case(module=module, inputs=(x, y), truths=[truth], tolerance=2e-2 if away < 100 else 0.5)


class TopKeysAttention(Projected):
    """All but the nine largest logits of a row become -inf: the hidden set differs by head and row."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = q @ k.mT / self.head_dim**0.5
        least = logits.topk(9, dim=-1).values[..., -1:]
        return (logits.masked_fill(logits < least, float("-inf")).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET)
def top_keys() -> Case:
    module, x = TopKeysAttention(4, 4, called="num_heads"), seeded(3, LENGTH)
    q, k, _ = (t.detach() for t in module.headed(x))
    logits = q @ k.mT / 2
    seen = logits >= logits.topk(9, dim=-1).values[..., -1:]
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x, seen=seen)])


class HeadMaskAttention(Projected):
    """Each head sees another window."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = (q @ k.mT / self.head_dim**0.5).masked_fill(~windows(x.shape[1]), float("-inf"))
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


def windows(length: int) -> Tensor:
    at = torch.arange(length)
    return torch.stack([(at[:, None] - at).abs() < 8 + 2 * h for h in range(4)])


@layout(MET)
def a_window_a_head() -> Case:
    return on_itself(HeadMaskAttention(4, 4, called="num_heads"), 3, LENGTH, seen=windows(LENGTH))


class SoftMaskAttention(Projected):
    """log(mask + 1e-9): hidden keys keep a weight of about a billionth."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = q @ k.mT / self.head_dim**0.5 + (causal().float() + 1e-9).log()
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(EITHER)
def soft_mask() -> Case:
    """Either all keys are visible, as the logits say, or those of the mask."""
    module = SoftMaskAttention(4, 4, called="num_heads")
    whole = on_itself(module, 3, LENGTH, bias=(causal().float() + 1e-9).log())
    cut = on_itself(module, 3, LENGTH, seen=causal())
    return Case(module=module, inputs=whole.inputs, truths=whole.truths, others=(cut.truths,))


class KeyBiasAttention(Projected):
    """A learned scalar a key, one of them very low: still visible, for it is learned and no mask."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="heads")
        self.key_bias = nn.Parameter(torch.linspace(0.0, -math.e * 3, LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = q @ k.mT / self.head_dim**0.5 + self.key_bias
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET)
def key_bias() -> Case:
    module = KeyBiasAttention()
    return on_itself(module, 3, LENGTH, bias=module.key_bias)
