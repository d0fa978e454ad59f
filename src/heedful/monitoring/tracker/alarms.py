"""Raise alarms on collapsing or exploding attention during training; each needs more than one sign."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

LOW_ENTROPY = 0.1
"""Share of the most entropy below which a head is collapsed (entropy collapse: Zhai et al. 2023, arXiv:2303.06296)."""

LASTING = 50
"""Steps for which it must be so: heads that copy are low at times, and for good reasons."""

SMOOTHING = 0.1
"""Weight of the newest loss in its moving average."""

RISE = 3.0
"""Rise of the averaged loss above its least value so far, in median absolute deviations about the average."""

SPIKE = 5.0
"""A gradient norm so many times the median of those before it is a spike."""

GROWTH, LARGE = 4.0, 10.0
"""Spread of logits that is large, and grew so many times over its own median, explodes."""

MEMORY, FEWEST = 200, 5
"""Values that medians are taken over, and how many there must be."""


@dataclass
class Alarms:
    """Running state of the alarms. Call ``judge`` once for each recorded step.

    Attributes:
        lasting: Steps for which entropy must be low.
        spikes: Recorded steps so far whose gradient spiked or was not finite.
    """

    lasting: int = LASTING
    spikes: int = 0
    _low_since: dict[str, int] = field(default_factory=dict)
    _lost: bool = False
    _average: float = math.nan
    _least: float = math.inf
    _deviations: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY))
    _norms: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY))
    _spreads: dict[str, deque[float]] = field(default_factory=dict)

    def loss(self, value: float) -> None:
        """Update the alarms with a step's loss in nats per token; pass non-finite losses too."""
        if not math.isfinite(value):
            self._lost = True
            return
        if math.isnan(self._average):
            self._average = value
        self._deviations.append(abs(value - self._average))
        self._average += SMOOTHING * (value - self._average)
        if len(self._deviations) >= FEWEST:
            self._least = min(self._least, self._average)

    def judge(
        self,
        step: int,
        entropy_share: Mapping[str, float],
        logit_sd: Mapping[str, float],
        gradient_norm: float,
        broken: float,
    ) -> list[str]:
        r"""Return the alarms of one recorded step, as sentences.

        Collapse: a head's mean entropy is below a tenth of its most for 50 steps, *and* the averaged loss has risen by
        3 MAD or the gradient norm spikes. Explosion: a measured vector, the loss or the gradient is not finite, or a
        head's logits spread 4 times as wide as they used to and beyond 10, with the same second sign.

        Args:
            step: Number of the step.
            entropy_share: Head to mean of ``H / log n``.
            logit_sd: Head to the spread of its logits.
            gradient_norm: Norm of all gradients; NaN where unknown.
            broken: Number of queries and keys that were not finite.

        Returns:
            One sentence an alarm.
        """
        unstable = self._unstable(gradient_norm)
        collapsed, grown = self._collapsed(step, entropy_share), self._grown(logit_sd)
        found = []
        if collapsed and unstable:
            found.append(
                f"collapse: {_named(collapsed)} below {LOW_ENTROPY} log n for {self.lasting} steps, {unstable}"
            )
        if broken:
            found.append(f"explosion: {broken:.0f} queries or keys are not finite")
        if math.isinf(gradient_norm):
            found.append("explosion: the gradient is not finite")
        if self._lost:
            found.append("explosion: the loss is not finite")
            self._lost = False
        if grown and unstable:
            found.append(
                f"explosion: logits of {_named(grown)} spread {GROWTH:.0f} times as wide as before, {unstable}"
            )
        return found

    def _unstable(self, norm: float) -> str:
        """The second sign in words, or the empty string."""
        spike = len(self._norms) >= FEWEST and norm > SPIKE * statistics.median(self._norms)
        self.spikes += spike or math.isinf(norm)
        if math.isfinite(norm):
            self._norms.append(norm)
        if spike:
            return f"gradient norm {norm:.3g}"
        if len(self._deviations) >= FEWEST:
            rise = self._average - self._least
            if rise > RISE * statistics.median(self._deviations) and rise > 0:
                return f"loss up by {rise:.3g}"
        return ""

    def _collapsed(self, step: int, shares: Mapping[str, float]) -> list[str]:
        for head, share in shares.items():
            if share < LOW_ENTROPY:
                self._low_since.setdefault(head, step)
            else:
                self._low_since.pop(head, None)
        return [head for head, since in self._low_since.items() if step - since >= self.lasting]

    def _grown(self, spreads: Mapping[str, float]) -> list[str]:
        grown = []
        for head, spread in spreads.items():
            past = self._spreads.setdefault(head, deque(maxlen=MEMORY))
            if len(past) >= FEWEST and spread > LARGE and spread > GROWTH * statistics.median(past):
                grown.append(head)
            if math.isfinite(spread):
                past.append(spread)
        return grown


def _named(heads: list[str]) -> str:
    return ", ".join(heads[:3]) + (f" and {len(heads) - 3} more" if len(heads) > 3 else "")
