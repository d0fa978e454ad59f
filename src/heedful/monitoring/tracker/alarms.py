"""Decide when a training run raises an alarm, from limits (with their sources) and earlier recorded steps."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from heedful.monitoring.tracker.alarm import Alarm, Head
from heedful.monitoring.tracker.record import SINK, by_head

LOW_ENTROPY = 0.1
"""Share of the most entropy below which a head is collapsed (Zhai et al. 2023, arXiv:2303.06296)."""

LASTING = 50
"""Steps for which a single head must be so: heads that copy are low at times, and for good reasons."""

STANDING = 20
"""Steps for which a head must give so much weight to one key before it is a sink."""

FALLEN = 0.25
"""Share of its usual entropy that a whole layer falls below when it collapses at once."""

MOST_LOGIT = 100.0
"""Largest logit from which runs are clipped (tau of QK-clip, arXiv:2507.20534)."""

LARGE_LOGIT, LOGIT_GROWTH = 30.0, 3.0
"""A largest logit beyond this that grew so many times over its median, and rose at every one of the last records."""

GROWTH, WIDE = 4.0, 10.0
"""Spread of logits that is wide, and grew so many times over its own median."""

DEAD = 1e-3
"""Share of the median head's gradient below which a head is dead."""

ONE_DIRECTION = 1.2
"""Effective rank of keys, about the mean of their sequence, below which they lie on a line. Cosines say nothing of
that: a vector that all keys share, a bias say, changes no weight."""

VANISHED = 1e-2
"""Share of its usual part of the whole gradient below which that of a layer's queries and keys has vanished."""

NO_GRADIENT = 1e-6
"""Part of the whole gradient below which a layer's queries and keys have none, whatever it was before."""

SPIKE, RISE = 10.0, 3.0
"""Gradient norm in medians of those before it; rise of the averaged loss above its least, in median deviations."""

UNSTABLE = 5.0
"""Gradient norm in medians that counts as a second sign."""

SMOOTHING = 0.1
"""Weight of the newest loss in its moving average."""

JUMP, LEAST_JUMP = 10.0, 0.1
"""A loss so many median deviations, and this share of it, above its moving average is a spike."""

MEMORY, FEWEST, IN_A_ROW = 200, 5, 3
"""Values that medians are taken over, how many there must be, and records for which a slow sign must hold."""


@dataclass(frozen=True)
class Readings:
    """The values of one step from which alarms are judged, by (layer, head); head None stands for a whole layer.

    Attributes:
        entropy_share: Mean of ``H / log n``.
        max_logit: Largest logit; NaN where one is not finite.
        logit_sd: Spread of the logits.
        sink_mass: Mean weight on the first key, or on the one that draws most.
        key_rank: Effective rank of the keys.
        head_gradient: Norm of the gradient of the head's queries' weights.
        layer_gradient: That of the layer's queries and keys.
        gradient_norm: Norm of all gradients, before clipping where that is known; NaN where unknown.
        clipped_norm: That which the optimizer gets, as the norms of heads and layers are.
        broken: Number of queries and keys that were not finite.
        full: Whether more was measured than a brief record holds.
    """

    entropy_share: Mapping[Head, float] = field(default_factory=dict)
    max_logit: Mapping[Head, float] = field(default_factory=dict)
    logit_sd: Mapping[Head, float] = field(default_factory=dict)
    sink_mass: Mapping[Head, float] = field(default_factory=dict)
    key_rank: Mapping[Head, float] = field(default_factory=dict)
    head_gradient: Mapping[Head, float] = field(default_factory=dict)
    layer_gradient: Mapping[Head, float] = field(default_factory=dict)
    gradient_norm: float = math.nan
    clipped_norm: float = math.nan
    broken: float = 0.0
    full: bool = True


def readings_of(rows: list[dict[str, Any]], norm: float, clipped: float, full: bool) -> Readings:
    """Extract the values from which alarms are judged from one step's table rows.

    Args:
        rows: Its rows of the table, gradients included.
        norm: Norm of all gradients, before clipping where known.
        clipped: That which the optimizer gets.
        full: Whether the record is a full one.
    """
    strongest = by_head(rows, "strongest_mass")
    first = by_head(rows, "sink_mass")
    stage = "before" if any(row.get("stage") == "before" for row in rows) else "after"
    queries, keys = (by_head(rows, "gradient_norm", f"{part}_weight") for part in ("query", "key"))
    squares: dict[Head, float] = {}
    for (layer, _), value in [*queries.items(), *keys.items()]:
        squares[layer, None] = squares.get((layer, None), 0.0) + value * value
    return Readings(
        entropy_share=by_head(rows, "entropy_share"),
        max_logit=by_head(rows, "max_logit"),
        logit_sd=by_head(rows, "logit_sd"),
        sink_mass={head: max(value, strongest.get(head, 0.0)) for head, value in first.items()},
        key_rank=by_head(rows, "effective_rank", "key", stage),
        head_gradient=queries,
        layer_gradient={layer: math.sqrt(value) for layer, value in squares.items()},
        gradient_norm=norm,
        clipped_norm=clipped,
        broken=sum(row.get("broken", 0.0) for row in rows),
        full=full,
    )


@dataclass
class Alarms:
    """Running state of the alarms. Call ``judge`` once for each recorded step.

    Attributes:
        lasting: Steps for which the entropy of a single head must be low.
        spikes: Recorded steps so far whose gradient spiked or was not finite.
        found: All alarms so far.
    """

    lasting: int = LASTING
    spikes: int = 0
    found: list[Alarm] = field(default_factory=list)
    _low_since: dict[Head, int] = field(default_factory=dict)
    _sink_since: dict[Head, int] = field(default_factory=dict)
    _lost: bool = False
    _jump: float = 0.0
    _average: float = math.nan
    _least: float = math.inf
    _deviations: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY))
    _norms: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY))
    _past: dict[tuple[str, Head], deque[float]] = field(default_factory=dict)
    _rows: dict[tuple[str, Head], int] = field(default_factory=dict)
    _said: set[tuple[str, Head]] = field(default_factory=set)

    def loss(self, value: float) -> None:
        """Update the alarms with a step's loss in nats per token; pass non-finite losses too."""
        if not math.isfinite(value):
            self._lost = True
            return
        if math.isnan(self._average):
            self._average = value
        if len(self._deviations) >= FEWEST:
            beyond = value - self._average
            if beyond > max(JUMP * statistics.median(self._deviations), LEAST_JUMP * abs(self._average)):
                self._jump = max(self._jump, beyond)
        self._deviations.append(abs(value - self._average))
        self._average += SMOOTHING * (value - self._average)
        if len(self._deviations) >= FEWEST:
            self._least = min(self._least, self._average)

    def judge(self, step: int, seen: Readings) -> list[Alarm]:
        r"""Return the alarms of one recorded step, as sentences.

        - ``logits``: a largest logit above 100; or above 30, three times its median and rising for three records; or
          logits spread 4 times as wide as they used to and beyond 10 while the training is unstable.
        - ``collapse``: a head's mean entropy is below a tenth of its most for 50 steps while the training is unstable;
          or that of a whole layer is, and below a quarter of what it used to be, for two records.
        - ``sink``: a head that had none gives .3 of its weight to one key, for 20 steps.
        - ``dead_head``: the gradient of a head's queries is below a thousandth of the median head's, for three records.
        - ``rank_collapse``: the keys of all heads of a layer have an effective rank below 1.2, for three records.
        - ``vanishing_gradient``: the share of a layer's queries and keys in the whole gradient is below a hundredth of
          what it used to be, or below a millionth, for three records.
        - ``spike``: a gradient norm of 10 medians, or a loss 10 median deviations and a tenth above its average.
        - ``not_finite``: queries, keys, gradient or loss.

        Unstable means that the averaged loss has risen by 3 median deviations, or that the gradient norm is 5 medians.
        A kind is said once of a head, spikes each time.

        Args:
            step: Number of the step.
            seen: What was measured.

        Returns:
            The alarms, one a kind.
        """
        spiked, unstable = self._unstable(seen.gradient_norm)
        raised = [
            *self._not_finite(step, seen),
            *self._logits(step, seen, unstable),
            *self._collapsed(step, seen, unstable),
            *self._sinks(step, seen),
            *self._slow(step, seen),
            *self._spiked(step, seen.gradient_norm, spiked),
        ]
        self.found += raised
        return raised

    def _unstable(self, norm: float) -> tuple[bool, str]:
        """Whether the gradient spikes, and the second sign in words, or the empty string."""
        known = len(self._norms) >= FEWEST
        usual = statistics.median(self._norms) if known else math.nan
        spike = known and norm > SPIKE * usual
        self.spikes += spike or math.isinf(norm)
        if math.isfinite(norm):
            self._norms.append(norm)
        if known and norm > UNSTABLE * usual:
            return spike, f"gradient norm {norm:.3g}"
        if len(self._deviations) >= FEWEST:
            rise = self._average - self._least
            if rise > RISE * statistics.median(self._deviations) and rise > 0:
                return spike, f"loss up by {rise:.3g}"
        return spike, ""

    def _once(self, name: str, step: int, heads: Sequence[Head], what: str) -> list[Alarm]:
        """An alarm about the heads that had none of this kind yet."""
        new = tuple(head for head in heads if (name, head) not in self._said)
        self._said |= {(name, head) for head in new}
        return [Alarm(name, step, new, what)] if new else []

    def _not_finite(self, step: int, seen: Readings) -> list[Alarm]:
        found = []
        if seen.broken:
            found.append(f"{seen.broken:.0f} queries or keys are not finite")
        if math.isinf(seen.gradient_norm):
            found.append("the gradient is not finite")
        if self._lost:
            found.append("the loss is not finite")
        self._lost = False
        return [Alarm("not_finite", step, (), "; ".join(found))] if found else []

    def _spiked(self, step: int, norm: float, gradient: bool) -> list[Alarm]:
        jump, self._jump = self._jump, 0.0
        found = [f"gradient norm {norm:.3g}, above {SPIKE:.0f} times its median"] if gradient else []
        found += [f"loss {jump:.3g} above its average"] if jump else []
        return [Alarm("spike", step, (), "; ".join(found))] if found else []

    def _logits(self, step: int, seen: Readings, unstable: str) -> list[Alarm]:
        raised, wide = [], []
        for head, value in seen.max_logit.items():
            past = self._memory("max_logit", head)
            recent = [*list(past)[1 - IN_A_ROW :], value]
            rising = len(recent) == IN_A_ROW and all(a < b for a, b in pairwise(recent))
            usual = statistics.median(past) if len(past) >= FEWEST else math.inf
            if value > MOST_LOGIT or (rising and value > max(LARGE_LOGIT, LOGIT_GROWTH * usual)):
                raised.append((value, head))
            self._keep(past, value)
        for head, value in seen.logit_sd.items():
            past = self._memory("logit_sd", head)
            if len(past) >= FEWEST and value > max(WIDE, GROWTH * statistics.median(past)) and unstable:
                wide.append(head)
            self._keep(past, value)
        worst = [head for _, head in sorted(raised, reverse=True)]
        what = f"largest logit {max(raised)[0]:.4g}, and it grows (limit {MOST_LOGIT:.0f})" if raised else ""
        found = self._once("logits", step, worst, what)
        return found or self._once(
            "logits", step, wide, f"logits spread {GROWTH:.0f} times as wide as before, {unstable}"
        )

    def _collapsed(self, step: int, seen: Readings, unstable: str) -> list[Alarm]:
        layers: dict[Head, list[float]] = {}
        for head, share in seen.entropy_share.items():
            layers.setdefault((head[0], None), []).append(share)
            if share < LOW_ENTROPY:
                self._low_since.setdefault(head, step)
            else:
                self._low_since.pop(head, None)
        single = [head for head, since in self._low_since.items() if step - since >= self.lasting and unstable]
        whole = []
        for layer, shares in layers.items():
            past, mean = self._memory("entropy_share", layer), math.fsum(shares) / len(shares)
            low = len(past) >= FEWEST and mean < min(LOW_ENTROPY, FALLEN * statistics.median(past))
            if self._lasts("collapse", layer, low, 2):
                whole.append(layer)
            if not low:
                self._keep(past, mean)
        found = self._once("collapse", step, single, f"below {LOW_ENTROPY} log n for {self.lasting} steps, {unstable}")
        return found or self._once("collapse", step, whole, f"all heads fell below {LOW_ENTROPY} log n")

    def _sinks(self, step: int, seen: Readings) -> list[Alarm]:
        found = []
        for head, mass in seen.sink_mass.items():
            if mass <= SINK:
                self._keep(self._memory("sink", head), mass)
                self._sink_since.pop(head, None)
            elif self._memory("sink", head) and step - self._sink_since.setdefault(head, step) >= STANDING:
                found.append((mass, head))
        worst = sorted(found, reverse=True)
        what = f"weight on one key {worst[0][0]:.2f}, above {SINK}" if worst else ""
        return self._once("sink", step, [head for _, head in worst], what)

    def _slow(self, step: int, seen: Readings) -> list[Alarm]:
        """Signs that a brief record does not hold."""
        if not seen.full:
            return []
        known = [value for value in seen.head_gradient.values() if math.isfinite(value)]
        usual = statistics.median(known) if known else 0.0
        dead = [
            head
            for head, value in seen.head_gradient.items()
            if self._lasts("dead_head", head, usual > 0 and value < DEAD * usual, IN_A_ROW)
        ]
        flat = self._flat(seen)
        lost = []
        for layer, value in seen.layer_gradient.items():
            share = value / seen.clipped_norm if seen.clipped_norm > 0 else math.nan
            past = self._memory("share", layer)
            usual_share = statistics.median(past) if len(past) >= FEWEST else 0.0
            gone = share < max(NO_GRADIENT, VANISHED * usual_share)
            if self._lasts("vanishing_gradient", layer, gone, IN_A_ROW):
                lost.append(layer)
            if not gone:
                self._keep(past, share)
        return [
            *self._once("dead_head", step, dead, f"gradient below {DEAD:g} of the median head's"),
            *self._once(
                "rank_collapse", step, flat, f"keys of effective rank below {ONE_DIRECTION}: they lie on a line"
            ),
            *self._once(
                "vanishing_gradient", step, lost, f"gradient of queries and keys below {VANISHED:g} of its share"
            ),
        ]

    def _flat(self, seen: Readings) -> list[Head]:
        """Heads of layers all of whose keys lie on a line; a single such head is a head for one thing, and healthy."""
        layers: dict[Head, list[tuple[float, Head]]] = {}
        for head, rank in seen.key_rank.items():
            layers.setdefault((head[0], None), []).append((rank, head))
        return [
            head
            for layer, ranks in layers.items()
            if self._lasts("rank_collapse", layer, max(ranks)[0] < ONE_DIRECTION, IN_A_ROW)
            for _, head in sorted(ranks)
        ]

    def _memory(self, name: str, head: Head) -> deque[float]:
        return self._past.setdefault((name, head), deque(maxlen=MEMORY))

    def _lasts(self, name: str, head: Head, holds: bool, records: int) -> bool:
        count = self._rows[name, head] = self._rows.get((name, head), 0) + 1 if holds else 0
        return count >= records

    @staticmethod
    def _keep(past: deque[float], value: float) -> None:
        if math.isfinite(value):
            past.append(value)
