"""The rate of an event over simulated trials, with its binomial interval and the promised rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

AT_MOST, AT_LEAST = "at most", "at least"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often one event happened in a number of simulated trials, and the rate that was promised.

    Attributes:
        claim: Registry name of the check, or what else was tried (``sequential looks``).
        event: What was counted, in words.
        world: On what: ``key effects``, ``flat``, ``gpt2``, ``skew 6``.
        length: Keys, or None where the trial has no length.
        causal: Whether queries see no later key; None where that is of no matter.
        count: Trials in which the event happened.
        trials: Trials.
        nominal: The promised rate.
        promise: ``at most`` for errors, ``at least`` for power.
        effect: The effect's size with its unit, in words, or "".
        worth: Independent trials that the trials are worth, where some share a study; as many as there are without it.
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
    worth: float | None = None

    @property
    def share(self) -> float:
        """Observed rate, ``count / trials``; NaN without trials."""
        return self.count / self.trials if self.trials else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the Clopper-Pearson interval of the true rate, for the effective number of independent trials.

        Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404; for trials in groups, Korn and Graubard 1998,
        Survey Methodology 24:193.

        Args:
            level: Nominal coverage.

        Returns:
            Lower and upper bound; (0, 1) without trials.
        """
        from scipy.stats import beta

        if not self.trials:
            return 0.0, 1.0
        trials = float(self.trials) if self.worth is None else self.worth
        yes, tail = self.share * trials, (1.0 - level) / 2.0
        low = 0.0 if self.count == 0 else float(beta.ppf(tail, yes, trials - yes + 1.0))
        high = 1.0 if self.count == self.trials else float(beta.isf(tail, yes + 1.0, trials - yes))
        return low, high

    def kept(self, tests: int = 1) -> bool:
        """Return whether the interval is compatible with the promised rate.

        Args:
            tests: Rates that are looked at together; the level is adjusted for them (Bonferroni).
        """
        low, high = self.interval(1.0 - 0.05 / max(tests, 1))
        if self.promise == AT_LEAST:
            return high >= self.nominal
        return low <= self.nominal

    def caught(self, tests: int = 1, power: float = 0.8) -> float:
        """Return the true rate that this number of trials would expose as a broken promise with probability ``power``;
        NaN if they could expose none.

        A promise whose trials catch only rates far from it was not tested. NaN where no rate could break it: too few
        trials, or a promise of at most 1.

        Args:
            tests: Rates that are looked at together.
            power: Chance of catching it.
        """
        from scipy.stats import beta

        trials = round(self.trials if self.worth is None else self.worth)
        breaking = [count for count in range(trials + 1) if not self._with(count, trials).kept(tests)]
        if not breaking:
            return float("nan")
        if self.promise == AT_LEAST:  # caught with at most this many
            most = max(breaking)
            return float(beta.ppf(1.0 - power, most + 1.0, trials - most))
        least = min(breaking)
        return float(beta.ppf(power, least, trials - least + 1.0))

    def _with(self, count: int, trials: int) -> Rate:
        return replace(self, count=count, trials=trials, worth=None)


def worth_of(happened: Sequence[Sequence[bool]]) -> float:
    """Return how many independent trials a number of correlated trials is worth; the outcomes come in groups, as lists
    of bools.

    Source: Korn and Graubard 1998, Survey Methodology 24:193: the number over the design effect, and the quantiles of
    Student's t for as many groups in place of as many trials.

    Args:
        happened: One sequence a group, such as the heads of a study.

    Returns:
        At most the number of trials; that number itself where all trials went one way or there is but one group.
    """
    from scipy.stats import t

    sizes = np.array([len(group) for group in happened if group], dtype=float)
    yes = np.array([sum(group) for group in happened if group], dtype=float)
    groups, trials = len(sizes), float(sizes.sum())
    share = yes.sum() / trials if trials else 0.0
    if groups < 2 or share in (0.0, 1.0):
        return trials
    variance = groups / (groups - 1) * float(((yes - share * sizes) ** 2).sum()) / trials**2
    effect = max(1.0, variance / (share * (1.0 - share) / trials))
    return trials / effect * float(t.ppf(0.975, trials - 1) / t.ppf(0.975, groups - 1)) ** 2


def pooled(rates: Sequence[Rate]) -> Rate:
    """Pool the rates of one simulated event over all sequence lengths.

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
        worth=sum(rate.trials if rate.worth is None else rate.worth for rate in rates),
    )
