"""Judge every kernel call of one forward while the model runs, by its inputs and outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from heedful.contract.alibi import AlibiJudge, promised_slopes
from heedful.contract.frequencies import flat_positions, parameters_of, rotary_promise, unjudged
from heedful.contract.numbers import UNREAD, NumberFinding, Numbers
from heedful.contract.promises import CROSS, Place, PromiseReader
from heedful.contract.record import Breach, Judgement, Promise, Status
from heedful.contract.rotation import Projections, RotationJudge
from heedful.contract.rules import SEEN, Rules, WrongPair, wrong_pairs
from heedful.contract.sampled_rows import KernelRows, SampledRows, kernel_rows
from heedful.errors import HeedfulError
from heedful.interception.event import AttentionEvent

NO_VALUES = "its softmax was seen and no product with values, so that its kernel cannot be asked for weights"
DIVIDED = "its heads are divided over processes"


@dataclass
class CapturedModule:
    """Results collected over the calls of one attention module.

    Attributes:
        way: How they were captured.
        heads: Number of query heads.
        kv_heads: Number of key heads.
        error: Largest relative difference of sampled rows from those computed again; NaN where not known.
        limit: What rounding explains of it.
        agrees: Whether it explains that of every call.
    """

    way: str
    heads: int
    kv_heads: int
    error: float = math.nan
    limit: float = math.nan
    agrees: bool = True

    def keep(self, error: float, limit: float) -> None:
        """Add one call with its recomputation error and tolerance.

        Args:
            error: Its difference.
            limit: What rounding explains.
        """
        if math.isnan(error):
            return
        self.agrees = self.agrees and error <= limit
        if not error <= self.error:
            self.error, self.limit = error, limit


@dataclass
class KernelJudge:
    """Judges every attention call of one forward.

    Attributes:
        reader: Reads what is promised.
        projections: What the projections of the forward gave.
        judgements: Path and promise to what the kernel says.
        rules: Path to the rules of its first call, of self-attention alone.
        undecided: Path to why nothing was judged there.
        layers: Module path to its index.
        captured: Module path to what was seen of its calls.
        explained: Path to scale, bound and grouping that the kernel's weights show.
        formulas: Path and promise to what the sampled output itself says of scale, bound and grouping.
    """

    reader: PromiseReader
    projections: Projections = field(default_factory=Projections)
    judgements: dict[tuple[str, str], Judgement] = field(default_factory=dict)
    rules: dict[str, Rules] = field(default_factory=dict)
    undecided: dict[str, str] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)
    captured: dict[str, CapturedModule] = field(default_factory=dict)
    explained: dict[str, tuple[float, float | None, str]] = field(default_factory=dict)
    formulas: dict[tuple[str, str], str] = field(default_factory=dict)

    def answer(self, event: AttentionEvent) -> Tensor:
        """Run the model's kernel, judge the call and return the kernel's output."""
        own = event.run(None)
        self.layers.setdefault(event.path.split("#")[0], len(self.layers))
        try:
            with torch.no_grad():
                rows = self._recomputed(event, own)
                self._judge(event, rows)
        except HeedfulError as error:
            self.undecided.setdefault(event.path, str(error))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # the user's own forward goes on
            message = " ".join(str(error).split())[:160]
            self.undecided.setdefault(event.path, f"{type(error).__name__}: {message}")
        return own

    def _recomputed(self, event: AttentionEvent, own: Tensor) -> SampledRows | None:
        """Sampled rows of the call's output, and how far they are from what was captured."""
        one = self.captured.setdefault(
            event.path.split("#")[0], CapturedModule(event.way, event.call.heads, event.call.kv_heads)
        )
        if event.call.value is None:
            return None
        rows = SampledRows(event, own)
        one.keep(*rows.error(handed=True))
        return rows

    def _judge(self, event: AttentionEvent, sampled: SampledRows | None) -> None:
        call = event.call
        if call.value is None or event.part is not None:
            self.undecided.setdefault(event.path, NO_VALUES if call.value is None else DIVIDED)
            return
        place = self.reader.place(event.path, event.module)
        rules = self.reader.rules(place, call)
        if rules.offset is not None and "#" not in event.path:
            self.rules[place.path] = rules
        rows = kernel_rows(event, rules)
        if not self._finite(event, place, rules, rows):
            return
        numbers = Numbers(place, call, event.way, rows, rules, self.reader.contract)
        found = numbers.judge()
        pairs = wrong_pairs(rules, rows.keys, rows.weights, numbers.expected())
        if pairs and not rows.whole:
            rows = kernel_rows(event, rules, whole=True)
            again = Numbers(place, call, event.way, rows, rules, self.reader.contract)
            again.judge()
            pairs = wrong_pairs(rules, rows.keys, rows.weights, again.expected())
        self._visible(place, rules, rows, pairs)
        for one in found:
            self._number(place, one)
        if numbers.explained is not None:
            self.explained.setdefault(place.path, numbers.explained)
        if sampled is not None:
            self._formula(place, numbers, sampled, found)
        slopes = promised_slopes(place, call.heads)
        if slopes is not None and rules.offset is not None:
            live = rules.live_rows(call.batch, call.query.device)
            self._number(place, AlibiJudge(place, event, rows, live, self.projections.outputs).judge(slopes))
        if not numbers.readable:
            self.undecided.setdefault(event.path, f"scale, grouping and rotary: {UNREAD}")
        if rules.offset is not None:
            self._rotation(place, event, rules)

    def _formula(self, place: Place, numbers: Numbers, sampled: SampledRows, found: list[NumberFinding]) -> None:
        """Whether the output itself, not a replay, is that of the promised scale, bound and grouping."""
        names = [one.promise.name for one in found if one.promise.name in ("scale", "softcap", "grouping")]
        message = numbers.sampled_rows_note(sampled) if names else ""
        for name in names:
            broken = any(one.promise.name == name and one.status is Status.BROKEN for one in found)
            said = message if message != str(Status.BROKEN) or broken else ""
            if said and self.formulas.get((place.path, name)) != str(Status.BROKEN):
                self.formulas[place.path, name] = said

    def _finite(self, event: AttentionEvent, place: Place, rules: Rules, rows: KernelRows) -> bool:
        live = rules.live_rows(event.call.batch, rows.sums.device)[:, None]
        wrong = (~rows.sums.isfinite() & live).nonzero()
        if not len(wrong):
            return True
        sequence, head, query = min(wrong.tolist(), key=lambda one: (one[2], one[0], one[1]))
        breach = Breach(
            proof="kernel rows",
            expected="weights that are numbers",
            found="a row of NaN",
            sequence=sequence,
            head=head,
            query=query + (rules.offset or 0),
        )
        self._put(
            place, Promise("finite", "weights are numbers", "definition of a softmax"), Status.BROKEN, "NaN", breach
        )
        return False

    def _visible(self, place: Place, rules: Rules, rows: KernelRows, pairs: dict[str, WrongPair]) -> None:
        for message in rules.contradictions:
            name = message.split(":")[0]
            self._put(place, Promise(name, "", message), Status.CONTRADICTION, message)
        for name, promise in rules.named().items():
            pair = pairs.get(name)
            if pair is not None:
                self._put(place, promise, Status.BROKEN, _message(pair), self._breach(rules, pair))
            elif reason := rules.exercised(name):
                self._put(place, promise, Status.NOT_EXERCISED, reason)
            elif name == "direction" and promise.value == "both" and not rules.complete:
                self._put(place, promise, Status.NOT_DECIDABLE, "not all that may hide a key is known")
            elif name == "window" and not promise.value and not rules.complete:
                continue
            else:
                self._put(place, promise, Status.HELD, "as promised" if rows.whole else "as promised at sampled keys")
        if rules.direction is None and rules.offset is not None and not rules.contradictions:
            self._put(place, Promise("direction", "", ""), Status.NOT_PROMISED, _direction_found(rules, rows))

    def _breach(self, rules: Rules, pair: WrongPair) -> Breach:
        place = pair.query + (rules.offset or 0)
        expected = f"query {place} {'does not see' if pair.sees else 'sees'} key {pair.key}"
        return Breach(
            proof="kernel rows",
            expected=expected,
            found=_message(pair),
            sequence=pair.sequence,
            head=pair.head,
            query=place,
            key=pair.key,
            size=pair.weight,
        )

    def _number(self, place: Place, one: NumberFinding) -> None:
        breach = None
        if one.status is Status.BROKEN:
            sequence, head, query, key = one.where or (None, None, None, None)
            rotary = one.promise.name in ("rotary", "qk_norm")
            breach = Breach(
                proof="rotation" if rotary else "kernel rows",
                expected=_shown(one.promise.value),
                found=one.found,
                sequence=sequence,
                head=head,
                query=query,
                key=key,
                size=one.size,
            )
        self._put(place, one.promise, one.status, one.found, breach)

    def _rotation(self, place: Place, event: AttentionEvent, rules: Rules) -> None:
        call = event.call
        if event.way.startswith("softmax") or call.n_queries != call.n_keys:
            return
        facts = self.reader.target_facts if place.side == "decoder" else self.reader.facts
        positions = facts.positions
        if "mrope_section" in (parameters_of(place.config, place.layer_type) or {}):
            positions, why = flat_positions(self.reader.batch)
            if why:
                self.undecided.setdefault(event.path, f"rotary: {why}")
                return
        elif (self.reader.batch.get("position_ids") is not None and not place.side) and (
            positions is None or tuple(positions.shape) != (call.batch, call.n_queries)
        ):
            return
        if positions is None or tuple(positions.shape) != (call.batch, call.n_queries):
            first = 1 if self.reader.root_type == "paligemma" else 0  # its own positions begin at 1
            positions = torch.arange(first, call.n_queries + first)[None].expand(call.batch, -1)
        length = int(positions.max()) + 1
        promise = rotary_promise(place, call.query.shape[-1], length, self.reader.contract)
        if promise is None:
            if why := unjudged(place):
                self.undecided.setdefault(event.path, f"rotary: {why}")
            return
        judge = RotationJudge(place, call, promise, positions)
        for one in judge.judge(self.projections.of(event.module, call)):
            self._number(place, one)

    def _put(self, place: Place, promise: Promise, status: Status, found: str, breach: Breach | None = None) -> None:
        """Keep what is worse, where a module is called several times."""
        key = place.path, promise.name
        before = self.judgements.get(key)
        if before is not None and (before.status is Status.BROKEN or status is not Status.BROKEN):
            return
        self.judgements[key] = Judgement(
            promise=promise.name,
            path=place.path,
            layer=self.layers[place.path],
            status=status,
            value=_shown(promise.value),
            source=promise.source,
            found=found,
            kernel=str(status),
            breach=breach,
        )

    def self_attention(self) -> dict[str, Rules]:
        """Return the rules of all self-attention modules, by path."""
        return {path: rules for path, rules in self.rules.items() if not CROSS.search(path)}


def _message(pair: WrongPair) -> str:
    more = f"; {pair.pairs} such pairs" if pair.pairs > 1 else ""
    if pair.sees:
        return f"sees it with weight {pair.weight:.2g}{more}"
    return f"does not see it{more}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "undefined" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _direction_found(rules: Rules, rows: KernelRows) -> str:
    place = torch.arange(rules.queries, device=rows.keys.device)[:, None] + (rules.offset or 0)
    later = (rows.keys[None] > place) & (rows.weights > SEEN).any(0).any(0)
    return "queries see later keys" if bool(later.any()) else "no query sees a later key"


def of_one_query(rules: Rules, query: int) -> Rules:
    """Return the visibility rules restricted to a single query."""
    mask = rules.given_mask
    return replace(
        rules,
        queries=1,
        offset=(rules.offset or 0) + query,
        given_mask=None if mask is None else mask[:, :, query : query + 1],
        live=None,
    )
