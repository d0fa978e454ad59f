"""How often something happened that should not (or should), with its binomial interval and what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AT_MOST, AT_LEAST = "at most", "at least"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One event counted over independent trials.

    Attributes:
        claim: Registry name of the check, or what else was tried (``sequential looks``).
        event: What was counted, in words.
        world: On what: ``key effects``, ``flat``, ``gpt2``, ``skew 6``.
        length: Keys, or None where the trial has no length.
        causal: Whether queries see no later key; None where that is of no matter.
        count: Trials in which the event happened.
        trials: Independent trials.
        nominal: The promised rate.
        promise: ``at most`` for errors, ``at least`` for power.
        effect: The effect's size with its unit, in words, or "".
    """

    claim: str
    event: str
    world: str
    length: int | None = None
    causal: bool | None = None
    count: int = 0
    trials: int = 0
    nominal: float = 0.0
    promise: str = AT_MOST
    effect: str = ""

    @property
    def share(self) -> float:
        """Share of the trials; NaN without any."""
        return self.count / self.trials if self.trials else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper and Pearson's interval of the true rate.

        Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404, by ``scipy.stats.binomtest``.

        Args:
            level: Nominal coverage.

        Returns:
            Lower and upper bound; (0, 1) without trials.
        """
        from scipy.stats import binomtest

        if not self.trials:
            return 0.0, 1.0
        found = binomtest(self.count, self.trials).proportion_ci(level, method="exact")
        return float(found.low), float(found.high)

    def kept(self, tests: int = 1) -> bool:
        """Whether the promise stands: the interval does not lie on its wrong side.

        Args:
            tests: Rates that are looked at together; the level is adjusted for them (Bonferroni).
        """
        low, high = self.interval(1.0 - 0.05 / max(tests, 1))
        if self.promise == AT_LEAST:
            return high >= self.nominal
        return low <= self.nominal


def pooled(rates: Sequence[Rate]) -> Rate:
    """Rates of one event in one world over all lengths, as one.

    Args:
        rates: At least one, of the same claim, event, world and promise.
    """
    first = rates[0]
    return Rate(
        claim=first.claim,
        event=first.event,
        world=first.world,
        causal=first.causal,
        count=sum(rate.count for rate in rates),
        trials=sum(rate.trials for rate in rates),
        nominal=first.nominal,
        promise=first.promise,
    )
