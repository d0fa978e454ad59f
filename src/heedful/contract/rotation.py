"""Compare queries and keys with the rotation and normalisation that a config promises.

What the projections give is rotated by formula and compared with what the kernel was handed. Where the promise does not
explain it, named faults are tried: without the norm, unrotated, pairs of the other kind, the whole head; then the angle
of every position and pair is fitted. Where no rotation at all explains it, nothing is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.contract.frequencies import RotaryPromise
from heedful.contract.numbers import NumberFinding
from heedful.contract.promises import Place
from heedful.contract.record import Promise, Status
from heedful.interception.unrotated import FUSED, cut, shaped

PROJECTED = (("q_proj", "k_proj"), ("query", "key"), ("Wq", "Wk"), ("q_lin", "k_lin"))
JOINT = FUSED
LATENT = ("q_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")
NORMS = (
    ("q_norm", "k_norm"),
    ("q_layernorm", "k_layernorm"),
    ("query_layernorm", "key_layernorm"),
    ("qk_norm", "qk_norm"),
)
EPSILONS = ("variance_epsilon", "eps", "norm_eps", "epsilon")
SIDES = ("query", "key")


@dataclass
class Projections:
    """Stores the projection outputs of attention modules until their call is judged."""

    outputs: dict[int, Tensor] = field(default_factory=dict)
    _handles: list[Any] = field(default_factory=list)

    def begin(self, model: nn.Module) -> None:
        """Install hooks on a model until ``end`` is called."""
        names = {name for pair in PROJECTED for name in pair} | set(JOINT) | set(LATENT)

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.outputs[id(module)] = output.detach()

        for path, module in model.named_modules():
            if path.rpartition(".")[2] in names:
                self._handles.append(module.register_forward_hook(keep))

    def end(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.outputs.clear()

    def of(self, module: nn.Module, call: AttentionCall) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield unrotated queries and keys from the projections, in every layout that fits the call."""
        children = dict(module.named_children())
        if "kv_a_proj_with_mqa" in children:
            yield from self._latent(module, call)
            return
        for names in PROJECTED:
            given = [self.outputs.get(id(children.get(name))) for name in names]
            if given[0] is not None and given[1] is not None:
                query, key = shaped(given[0], call.query), shaped(given[1], call.key)
                if query is not None and key is not None:
                    yield query, key
        for name in JOINT:
            joint = self.outputs.get(id(children.get(name)))
            if joint is not None:
                yield from cut(joint, call.query, call.key)

    def _latent(self, module: nn.Module, call: AttentionCall) -> Iterator[tuple[Tensor, Tensor]]:
        """Queries and keys of latent heads: the unrotated part and, behind it, what is rotated."""
        outputs = [self.outputs.get(id(getattr(module, name, None))) for name in LATENT]
        query = outputs[1] if outputs[1] is not None else outputs[0]
        joint, own = outputs[2], outputs[3]
        turned: Any = getattr(module, "qk_rope_head_dim", None)
        batch, heads, length, dim = call.query.shape
        fits = isinstance(turned, int) and query is not None and joint is not None and own is not None
        if not fits or query is None or joint is None or own is None or query.numel() != call.query.numel():
            return
        apart = own.reshape(batch, length, heads, -1)[..., : dim - turned].transpose(1, 2)
        shared = joint[..., -turned:].reshape(batch, 1, length, turned).expand(-1, heads, -1, -1)
        yield query.reshape(batch, length, heads, dim).transpose(1, 2), torch.cat([apart, shared], -1)


class RotationJudge:
    """Checks rotation and normalisation of one call's queries and keys.

    Args:
        place: The module.
        call: Its call.
        promise: The rotation.
        positions: ``(batch, query)`` positions.
    """

    def __init__(self, place: Place, call: AttentionCall, promise: RotaryPromise, positions: Tensor) -> None:
        self.place, self.call, self.promise = place, call, promise
        self.positions = positions.to(call.query.device).double()
        exact = call.query.dtype in (torch.float32, torch.float64)
        self.limit = (3e-5 + 1e-6 * self.positions) if exact else torch.full_like(self.positions, 0.04)
        self.rotary = Promise("rotary", promise.sentence, promise.source)

    def judge(self, projected: Iterator[tuple[Tensor, Tensor]]) -> list[NumberFinding]:
        """Return findings on the rotation, and on the normalisation if the module has one."""
        given = list(projected)
        norms = self._norms()
        best: list[NumberFinding] = []
        for pair in given:
            found = [self._side(side, one.double(), norms) for side, one in enumerate(pair)]
            flat = self._joined(found, norms is not None)
            if not best or all(one.status is Status.HELD for one in flat):
                best = flat
            if any(one.status is not Status.NOT_DECIDABLE for one in flat):
                best = flat
                break
        if not given:
            why = "no projection of its queries and keys was seen"
            return [NumberFinding(self.rotary, Status.NOT_DECIDABLE, why)]
        return best

    def _norms(self) -> tuple[nn.Module, nn.Module] | None:
        children = dict(self.place.module.named_children())
        for names in NORMS:
            if all(isinstance(children.get(name), nn.Module) for name in names):
                return children[names[0]], children[names[1]]
        return None

    def _joined(self, found: list[list[NumberFinding]], normed: bool) -> list[NumberFinding]:
        """One finding a promise: the worse of query and key."""
        order = [Status.BROKEN, Status.NOT_DECIDABLE, Status.HELD]
        joined = []
        for name in ("rotary", "qk_norm") if normed else ("rotary",):
            every = [one for side in found for one in side if one.promise.name == name]
            if every:
                joined.append(min(every, key=lambda one: order.index(one.status)))
        return joined

    def _side(self, side: int, projected: Tensor, norms: tuple[nn.Module, nn.Module] | None) -> list[NumberFinding]:
        target = (self.call.query if side == 0 else self.call.key).double()
        norm = None if norms is None else norms[side]
        made = list(_normed(norm, projected)) if norm is not None else [projected]
        pairings = self.promise.pairings
        for pairing in pairings:
            for before in made:
                if self._fits(target, self._rotated(before, pairing)):
                    return self._held(norm is not None, f"as promised ({pairing})" if self.promise.width else "")
            if norm is not None:  # some normalise after the rotation
                for after in _normed(norm, self._rotated(projected, pairing)):
                    if self._fits(target, after):
                        return self._held(True, f"as promised ({pairing}), then the norm")
        return self._named(side, target, projected, made, norm is not None)

    def _held(self, normed: bool, message: str) -> list[NumberFinding]:
        held = [NumberFinding(self.rotary, Status.HELD, message or "as promised")]
        return (
            [*held, NumberFinding(self._norm_promise(), Status.HELD, "applied to queries and keys")] if normed else held
        )

    def _norm_promise(self) -> Promise:
        return Promise("qk_norm", "queries and keys are normalised", f"modules of {self.place.path}")

    def _named(
        self, side: int, target: Tensor, projected: Tensor, made: list[Tensor], normed: bool
    ) -> list[NumberFinding]:
        """Which fault explains what was handed."""
        word = SIDES[side]
        pairing = self.promise.pairings[0]
        if normed:
            for kind in self.promise.pairings:
                if self._fits(target, self._rotated(projected, kind)):
                    message = f"{word} is not normalised"
                    wrong = NumberFinding(
                        self._norm_promise(), Status.BROKEN, message, self._where(target, made[0], pairing), 1.0
                    )
                    return [NumberFinding(self.rotary, Status.HELD, "as promised"), wrong]
        for before in [*made, projected]:
            for message, other in self._others(before):
                if self._fits(target, other):
                    return self._broken(word, message, target, before, pairing, normed)
        for before in made:
            fitted = self._fitted(word, target, before, pairing)
            if fitted is not None:
                return [fitted, NumberFinding(self._norm_promise(), Status.HELD, "applied")] if normed else [fitted]
        why = f"what the projections gave is more than a norm and a rotation away from its {word}"
        return [NumberFinding(self.rotary, Status.NOT_DECIDABLE, why)]

    def _broken(
        self, word: str, message: str, target: Tensor, before: Tensor, pairing: str, normed: bool
    ) -> list[NumberFinding]:
        where = self._where(target, self._rotated(before, pairing), pairing)
        wrong = NumberFinding(self.rotary, Status.BROKEN, f"{word} {message}", where, 1.0)
        return [wrong, NumberFinding(self._norm_promise(), Status.HELD, "applied")] if normed else [wrong]

    def _others(self, before: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Named faults and what they give."""
        promise = self.promise
        if promise.width:
            yield "is not rotated", before
            for other in ("half", "interleaved"):
                if other not in promise.pairings:
                    message = "(i, i + d/2)" if other == "half" else "(2i, 2i + 1)"
                    yield f"rotates pairs {message}", self._rotated(before, other)
            if promise.width < before.shape[-1] and not promise.start:
                whole = promise.theta ** (-torch.arange(0, before.shape[-1], 2, dtype=torch.float64) / before.shape[-1])
                for pairing in promise.pairings:
                    yield "is rotated in full", self._rotated(before, pairing, whole.to(before.device))

    def _rotated(self, before: Tensor, pairing: str, angles: Tensor | None = None) -> Tensor:
        angles = self.promise.angles.to(before.device) if angles is None else angles
        width = 2 * len(angles)
        if not width:
            return before
        turn = torch.polar(torch.ones((), dtype=torch.float64), (self.positions[:, None, :, None] * angles))
        start = self.promise.start
        pairs = _pairs(before[..., start : start + width], pairing) * turn * self.promise.factor
        return torch.cat([before[..., :start], _unpaired(pairs, pairing), before[..., start + width :]], -1)

    def _fits(self, target: Tensor, made: Tensor) -> bool:
        if made.shape != target.shape:
            return False
        gap = (target - made).norm(dim=-1).nan_to_num(0.0)
        size = made.norm(dim=-1).nan_to_num(0.0).clamp_min(1e-12)
        return bool((gap <= self.limit[:, None] * size + 1e-9).all())

    def _where(self, target: Tensor, made: Tensor, pairing: str) -> tuple[int, int | None, int, int | None]:
        gap = (target - made).norm(dim=-1) > self.limit[:, None] * made.norm(dim=-1)
        places = gap.nonzero()
        if not len(places):
            return (0, None, 0, None)
        sequence, head, query = min(places.tolist(), key=lambda place: (place[2], place[0], place[1]))
        return (sequence, head, query, None)

    def _fitted(self, word: str, target: Tensor, before: Tensor, pairing: str) -> NumberFinding | None:
        """A rotation by other angles or another size: the first position and pair where it differs."""
        angles = self.promise.angles.to(target.device)
        width = self.promise.width or before.shape[-1]
        if before.shape != target.shape:
            return None
        start = self.promise.start
        inside = slice(start, start + width)
        z, y = _pairs(before[..., inside], pairing), _pairs(target[..., inside], handed(pairing))
        weight = (z.abs() ** 2).sum(1).clamp_min(1e-18)
        c = (z.conj() * y).sum(1) / weight
        rest = (y - c[:, None] * z).abs().amax(dim=-1)
        size = z.abs().amax(dim=-1).clamp_min(1e-12)
        usual = float(c.abs().median())
        loose = self.limit[:, None] * 20
        if bool((rest > loose * size).any()) or bool(
            ((c.abs() - usual).abs() > 1e-3 * usual + loose.transpose(1, 2)).any()
        ):
            return None
        for beside in (slice(0, start), slice(start + width, None)):
            if not torch.allclose(target[..., beside], before[..., beside], rtol=1e-4, atol=1e-5):
                return None
        wanted = self.positions[..., None] * angles if len(angles) else torch.zeros_like(c.real)
        off = torch.remainder(c.angle() - wanted + torch.pi, 2 * torch.pi) - torch.pi
        wrong = (off.abs() > 10 * self.limit[..., None]).nonzero()
        if not len(wrong):
            if abs(usual - self.promise.factor) < 1e-3:
                return None
            message = f"{word} is rotated rightly and sized {usual:.4g}, promised {self.promise.factor:.4g}"
            if self.promise.factor == 1.0 and word == "query":
                return NumberFinding(self.rotary, Status.HELD, f"as promised, times {usual:.4g}")
            return NumberFinding(
                self.rotary, Status.BROKEN, message, (0, None, 0, None), abs(usual - self.promise.factor)
            )
        sequence, query, pair = min(wrong.tolist(), key=lambda place: (place[1], place[0], place[2]))
        got, meant = float(c.angle()[sequence, query, pair]), float(wanted[sequence, query, pair])
        at = int(self.positions[sequence, query])
        message = f"{word} at position {at}, pair {pair}: angle {got:.4g}, promised {meant:.4g}"
        return NumberFinding(
            self.rotary, Status.BROKEN, message, (sequence, None, query, None), float(off.abs()[sequence, query, pair])
        )


def turned(key: Tensor, promise: RotaryPromise, pairing: str, by: int) -> Tensor:
    """Rotate keys from one position to another by the promised angles.

    Args:
        key: ``(head, dim)`` as handed.
        promise: The rotation.
        pairing: Which components go together.
        by: How far the position moves.
    """
    width = 2 * len(promise.angles)
    if not width:
        return key
    start, pairing = promise.start, handed(pairing)
    pairs = _pairs(key[..., start : start + width].double(), pairing)
    pairs = pairs * torch.polar(
        torch.ones((), dtype=torch.float64, device=key.device), promise.angles.to(key.device) * by
    )
    return torch.cat([key[..., :start], _unpaired(pairs, pairing).to(key.dtype), key[..., start + width :]], -1)


def handed(pairing: str) -> str:
    """Return how rotated components are paired in a kernel's input: interleaved or by halves."""
    return "half" if pairing.endswith("to half") else pairing


def _pairs(values: Tensor, pairing: str) -> Tensor:
    """Components as complex numbers, one a rotated pair."""
    if pairing.startswith("interleaved"):
        return torch.complex(values[..., 0::2].contiguous(), values[..., 1::2].contiguous())
    half = values.shape[-1] // 2
    return torch.complex(values[..., :half].contiguous(), values[..., half:].contiguous())


def _unpaired(pairs: Tensor, pairing: str) -> Tensor:
    if pairing == "interleaved":
        return torch.stack([pairs.real, pairs.imag], -1).flatten(-2)
    return torch.cat([pairs.real, pairs.imag], -1)


def _normed(norm: nn.Module, values: Tensor) -> Iterator[Tensor]:
    """What a norm promises of ``(batch, head, position, dim)`` values, every way in which its gain can be meant."""
    weight: Any = getattr(norm, "weight", None)
    bias: Any = getattr(norm, "bias", None)
    eps = next((float(e) for name in EPSILONS if isinstance(e := getattr(norm, name, None), int | float)), 1e-6)
    centred = "LayerNorm" in type(norm).__name__ and "RMS" not in type(norm).__name__
    heads, dim = values.shape[1], values.shape[3]
    apart = weight is None or weight.numel() == dim or tuple(weight.shape) == (heads, dim)
    if not apart and weight.numel() != heads * dim:
        return
    flat = values if apart else values.transpose(1, 2).flatten(2)
    unit = _unit(flat, eps, centred)
    gains: list[Callable[[Tensor], Tensor]] = [lambda unit: unit]
    if isinstance(weight, Tensor):
        gain = weight.detach().double()
        gain = gain[None, :, None] if apart and gain.dim() == 2 else gain
        shift = bias.detach().double() if isinstance(bias, Tensor) else 0.0
        gains = [lambda unit: unit * gain + shift, lambda unit: unit * (1 + gain) + shift]
    for apply in gains:
        made = apply(unit)
        yield made if apart else made.unflatten(2, (heads, dim)).transpose(1, 2)


def _unit(values: Tensor, eps: float, centred: bool) -> Tensor:
    values = values - values.mean(-1, keepdim=True) if centred else values
    return values * (values.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
