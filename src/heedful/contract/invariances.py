"""Test scale, softcap and positions by behaviour: copies of a short text in one forward, each changed in one way.

The stream is set back to the first copy's at the input of every block, so that each attention module is judged alone.
Positions moved as a whole move no output; one position exchanged with another moves the last query exactly as far as
the promised angles say; two inputs exchanged move it where positions count and not where none are promised; a key head
whose sign is turned moves exactly the query heads of its group, and values with a factor a key head show which of them
each query head reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heedful.contract.alibi import promised_slopes
from heedful.contract.changes import MEDIA
from heedful.contract.frequencies import RotaryPromise, rotary_promise
from heedful.contract.gradients import blocks_of
from heedful.contract.kernels import KernelJudge
from heedful.contract.promises import CROSS, PromiseReader
from heedful.contract.record import Status
from heedful.contract.rotation import PROJECTED, turned
from heedful.contract.sampled_rows import SampledRows
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept
from heedful.interception.uncompiled import module_at

TOKENS = 48
SHIFT = 37
PLAIN, SHIFTED, FAR, NEAR, STATES, KEYS, VALUES = range(7)
"""Copies of the text."""

STILL = 1e-5
"""Relative change of an output by rounding alone."""

ORIGINAL = "original_max_position_embeddings"
VALUE_NAMES = ("v_proj", "value", "Wv", "v_lin")


@dataclass(frozen=True)
class InvarianceResult:
    """Behavioural result for one promise in one module.

    Attributes:
        status: ``held`` or ``BROKEN``.
        message: What was seen.
        proof: Which experiment.
        query: The query whose output is wrong, or None.
        head: The head, or None.
        size: Relative size of what is wrong.
    """

    status: Status
    message: str
    proof: str
    query: int | None = None
    head: int | None = None
    size: float = float("nan")


@dataclass
class Invariances:
    """Runs the copies and judges every self-attention call.

    Attributes:
        reader: Reads what is promised.
        judged: What the kernels said.
        run: Runs the model.
        batch: The batch, whose first text is taken.
        said: Path and promise to what was seen.
        why_not: Why nothing could be asked; empty where it could.
    """

    reader: PromiseReader
    judged: KernelJudge
    run: Any
    batch: Mapping[str, Any]
    said: dict[tuple[str, str], InvarianceResult] = field(default_factory=dict)
    why_not: str = ""
    _set_back: set[str] = field(default_factory=set)
    _length: int = 0
    _moves: bool = False

    def judge(self) -> None:
        """Run one forward of the copies and judge it."""
        keywords = self._copies()
        if keywords is None:
            return
        with ExitStack() as stack, torch.no_grad():
            for path in blocks_of(self.run.model):
                module = module_at(self.run.model, path)
                stack.callback(module.register_forward_pre_hook(self._back(path), with_kwargs=True).remove)
            for path in self.judged.rules:
                self._change_heads(path, stack)
            stack.enter_context(intercept(self.run.model, self._answer))
            self.run(keywords)

    def _copies(self) -> dict[str, Any] | None:
        """The short text as many times as there are experiments, with its positions; None where there is no text."""
        ids, names = self.batch.get("input_ids"), inspect.signature(self.run.model.forward).parameters
        if self.reader.has_sides or MEDIA & set(self.batch) or not isinstance(ids, Tensor) or ids.dim() != 2:
            self.why_not = "the batch holds more than one stream of token ids, or none"
            return None
        facts, row = self.reader.facts, ids[0]
        live = torch.ones(len(row), dtype=torch.bool, device=row.device)
        if facts.real is not None and tuple(facts.real.shape) == tuple(ids.shape):
            live &= facts.real[0].to(row.device)
        text = row[live][:TOKENS]
        self._length = len(text)
        if self._length < 8:
            self.why_not = f"a text of {self._length} tokens is too short for it"
            return None
        copies = {"input_ids": text[None].repeat(VALUES + 1, 1)}
        open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in names.values())
        if "attention_mask" in names or open_ended:
            copies["attention_mask"] = torch.ones_like(copies["input_ids"])
        for name in ("use_cache", "return_dict"):
            if name in names and name in self.batch:
                copies[name] = self.batch[name]
        self._moves = "position_ids" in names
        if self._moves:
            copies["position_ids"] = self._positions(copies["input_ids"])
        return copies

    def _positions(self, like: Tensor) -> Tensor:
        n = self._length
        positions = torch.arange(n, device=like.device).expand(len(like), n).clone()
        positions[SHIFTED] += self._largest_shift()
        for copy, (one, other) in self._exchanged().items():
            positions[copy, one], positions[copy, other] = other, one
        return positions

    def _largest_shift(self) -> int:
        """How far all positions may move: to the last that is known, and not into other frequencies."""
        root = self.reader.root
        rope = getattr(root, "rope_parameters", None)
        found = [getattr(root, name, None) for name in ("max_position_embeddings", ORIGINAL)]
        found += [rope.get(ORIGINAL)] if isinstance(rope, Mapping) else []
        room = [most - self._length for most in found if isinstance(most, int) and most >= self._length]
        return max(0, min([SHIFT, *room]))

    def _exchanged(self) -> dict[int, tuple[int, int]]:
        return {FAR: (1, self._length - 2), NEAR: (self._length - 3, self._length - 2)}

    def _back(self, path: str) -> Any:
        """Every copy's states become those of the first at the input of a block."""

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            states = args[0] if args else kwargs.get("hidden_states")
            if not isinstance(states, Tensor) or states.dim() != 3 or len(states) != VALUES + 1:
                return None
            self._set_back.add(path)
            same = states[:1].repeat(len(states), 1, 1)
            one, other = self._exchanged()[NEAR]
            same[STATES, one], same[STATES, other] = states[0, other], states[0, one]
            return ((same, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": same})

        return enter

    def _change_heads(self, path: str, stack: ExitStack) -> None:
        """Turn one key head's sign in its copy, and give each key head's values a factor in theirs."""
        one, module = self.judged.captured.get(path), self.reader.modules.get(path)
        if one is None or module is None or not 1 < one.kv_heads < one.heads:
            return
        children = dict(module.named_children())
        keys = next((children[name] for _, name in PROJECTED if name in children), None)
        values = next((children[name] for name in VALUE_NAMES if name in children), None)

        def flip_sign(module: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, Tensor) and len(output) == VALUES + 1 and output.shape[-1] % one.kv_heads == 0:
                output = output.clone()
                output[KEYS].unflatten(-1, (one.kv_heads, -1))[..., _turned_head(one.kv_heads), :].neg_()
                return output
            return None

        def number(module: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, Tensor) and len(output) == VALUES + 1 and output.shape[-1] % one.kv_heads == 0:
                output = output.clone()
                factors = 1 + torch.arange(one.kv_heads, device=output.device, dtype=output.dtype)
                output[VALUES].unflatten(-1, (one.kv_heads, -1)).mul_(factors[:, None])
                return output
            return None

        for projection, hook in ((keys, flip_sign), (values, number)):
            if projection is not None:
                stack.callback(projection.register_forward_hook(hook).remove)

    def _answer(self, event: AttentionEvent) -> Tensor | None:
        if event.call.value is None:
            return None
        own = event.run(None)
        call, path = event.call, event.path.split("#")[0]
        inside = any(path == block or path.startswith(f"{block}.") for block in self._set_back)
        square = call.batch == VALUES + 1 and call.n_queries == call.n_keys == self._length and not call.cross
        if inside and square and event.part is None and not CROSS.search(path) and own.dtype == torch.float32:
            self._judge_call(path, event, own)
        return own

    def _judge_call(self, path: str, event: AttentionEvent, own: Tensor) -> None:
        self._grouping(path, event, own)
        place = self.reader.place(path, event.module)
        promise = rotary_promise(place, event.call.query.shape[-1], self._length, self.reader.contract)
        slopes = promised_slopes(place, event.call.heads)
        if slopes is not None or (promise is not None and not promise.width):
            self._exchanged_states(path, "rotary" if slopes is None else "alibi", own)
        if promise is not None and self._moves and not event.way.startswith("softmax"):
            self._rotary(path, promise, event, own)

    def _grouping(self, path: str, event: AttentionEvent, own: Tensor) -> None:
        call = event.call
        if not 1 < call.kv_heads < call.heads or path not in self.judged.captured:
            return
        each, head = call.heads // call.kv_heads, _turned_head(call.kv_heads)
        same = (call.key[KEYS] == call.key[PLAIN]).all(-1).all(-1)
        if bool(same[head]) or not bool(same[torch.arange(call.kv_heads, device=same.device) != head].all()):
            return  # a norm over all heads, or heads that are laid out anew: the change reached others
        moved = _relative(own[KEYS], own[PLAIN])
        inside = torch.arange(call.heads, device=own.device) // each == head
        outside = ((moved > 20 * STILL) & ~inside).nonzero()
        message = f"turning key head {head} moves query heads {_numbers(moved > STILL)}"
        if len(outside):
            first = int(outside[0])
            self._keep(
                path,
                "grouping",
                InvarianceResult(Status.BROKEN, message, "key head changed", None, first, float(moved[first])),
            )
            return
        ratio = (own[VALUES] * own[PLAIN]).sum((1, 2)) / (own[PLAIN] ** 2).sum((1, 2)).clamp_min(1e-30)
        read = (ratio - 1).round()
        factors = (1 + torch.arange(call.kv_heads, device=own.device, dtype=own.dtype))[:, None, None]
        laid = torch.allclose(call.value[VALUES], call.value[PLAIN] * factors, rtol=1e-3)  # type: ignore[index]
        clear = laid and bool(((ratio - 1 - read).abs() < 1e-2).all()) and float(read.max()) > 0
        wrong = (read != torch.arange(call.heads, device=own.device) // each).nonzero()
        if clear and len(wrong):
            first = int(wrong[0])
            said = f"query head {first} reads the values of key head {int(read[first])}"
            self._keep(path, "grouping", InvarianceResult(Status.BROKEN, said, "values changed", None, first, 1.0))
        elif bool((moved[inside] > STILL).all()):
            self._keep(path, "grouping", InvarianceResult(Status.HELD, message, "key head changed"))

    def _exchanged_states(self, path: str, promise: str, own: Tensor) -> None:
        """Two earlier inputs of the module exchanged: the last query moves where positions count, and only there."""
        moved = float(_relative(own[STATES, :, -1:], own[PLAIN, :, -1:]).max())
        one, other = self._exchanged()[NEAR]
        message = f"exchanging inputs {one} and {other} moves query {self._length - 1} by {moved:.2g}"
        still = moved <= 2e-4
        status = Status.HELD if still == (promise == "rotary") else Status.BROKEN
        self._keep(path, promise, InvarianceResult(status, message, "exchanged inputs", self._length - 1, None, moved))

    def _rotary(self, path: str, promise: RotaryPromise, event: AttentionEvent, own: Tensor) -> None:
        last = self._length - 1
        rows = SampledRows(event, own, [last])
        numbers = self.judged.explained.get(path, (event.call.scale, event.call.softcap, "repeat"))
        made = rows.output(*numbers)
        exact = float(_relative(made[PLAIN], rows.own[PLAIN]).max())
        if not exact < 1e-3:
            return
        allowed = 2e-4 + 3 * exact
        seen = rows.visible.expand(len(own), -1, -1, -1)[PLAIN, :, 0].all(0)
        judged = False
        for copy, pair in self._exchanged().items():
            if not bool(seen[list(pair)].all()):
                continue
            gaps = []
            for pairing in promise.pairings:
                key = rows.key.clone()
                key[copy] = key[PLAIN]
                for one, other in (pair, pair[::-1]):
                    key[copy, :, one] = turned(key[PLAIN, :, one], promise, pairing, other - one)
                expected = rows.output(*numbers, key=key, query_of=(copy, PLAIN))
                gaps.append((float(_relative(expected[copy], rows.own[copy], made[PLAIN]).max()), expected[copy]))
            gap, expected = min(gaps, key=lambda one: one[0])
            effect = float(_relative(expected, rows.own[PLAIN]).max())
            if gap > allowed + 0.002 * effect:
                moved = float(_relative(rows.own[copy], rows.own[PLAIN]).max())
                message = f"exchanging positions {pair[0]} and {pair[1]} moves query {last} by {moved:.2g}, "
                message += f"the promised angles by {effect:.2g}, {gap:.2g} apart"
                self._keep(
                    path, "rotary", InvarianceResult(Status.BROKEN, message, "swapped positions", last, None, gap)
                )
                return
            judged = judged or effect > 5 * allowed or not promise.width
        moved = float(_relative(own[SHIFTED], own[PLAIN]).max())
        if moved > 2e-3 + 10 * exact:
            message = f"moving all positions by {self._largest_shift()} moves outputs by {moved:.2g}"
            self._keep(path, "rotary", InvarianceResult(Status.BROKEN, message, "shifted positions", None, None, moved))
        elif judged:
            message = "a shift of all positions moves nothing, an exchange of two what the promised angles say"
            self._keep(path, "rotary", InvarianceResult(Status.HELD, message, "swapped positions"))

    def _keep(self, path: str, promise: str, said: InvarianceResult) -> None:
        before = self.said.get((path, promise))
        if before is None or before.status is Status.HELD:
            self.said[path, promise] = said


def _turned_head(kv_heads: int) -> int:
    return kv_heads - 1


def _relative(one: Tensor, other: Tensor, size_of: Tensor | None = None) -> Tensor:
    """Largest difference of each head over its largest output, ``(head,)``; of ``(head, query, dim)`` outputs."""
    one, other = one.double(), other.double()
    size = (other if size_of is None else size_of.double()).abs().amax((1, 2))
    gap = (one - other).abs().nan_to_num(0.0).amax((1, 2))
    return gap / torch.where(size > 0, size, size.max().clamp_min(1e-30))


def _numbers(which: Tensor) -> str:
    found = which.nonzero()[:, 0].tolist()
    return ", ".join(map(str, found)) or "none"
