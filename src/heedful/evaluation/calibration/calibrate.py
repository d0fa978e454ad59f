"""Run all simulations of a calibration plan, as ``heedful lab calibrate`` does.

Simulate how often confidence intervals of loss differences miss the true mean, for each side and number of
documents.

The simulation that calibrates each claim, or the reason why a claim has none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from heedful.errors import UsageError
from heedful.evaluation.calibration.faults import CLAIM as CORRELATION
from heedful.evaluation.calibration.faults import (
    FAULTS,
    FEW_LAYERS,
    LAYERS,
    NOISE,
    correlation_rates,
    document_rates,
    fault_rates,
    seed_answers,
)
from heedful.evaluation.calibration.fresh import ARCHITECTURES, EXACT, LEARNED, fresh_rates
from heedful.evaluation.calibration.intervals import AT_MARGIN, LABELLED, interval_rates
from heedful.evaluation.calibration.losses import CLAIM_OF, SKEW, ablation_rates, loss_rates, noise_of, sequential_rates
from heedful.evaluation.calibration.planted_study import FLAT, FOLLOWS, IID, KEYS, POINTED, planted_call_of
from heedful.evaluation.calibration.rate import AT_LEAST, Rate, pooled
from heedful.evaluation.calibration.screened import screened_rates
from heedful.evaluation.registry import CHECKS
from heedful.inference.skewness import skew_t

LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
WORLDS = (IID, KEYS, FLAT, POINTED, FOLLOWS)
FULL_LENGTH = 256
"""Length up to which every repetition is made; beyond, fewer, as each costs more."""


FRESH_SHARE, FRESH_LENGTH = 11, 64
"""Fresh models at a length are this many times the repetitions up to 64 tokens, fewer with its square beyond."""

FRESH_LEAST = 32
"""Below it, where one claim has no distant queries, there are as many fresh models as repetitions."""

SHORT_SHARE = 8
"""Planted studies up to 64 tokens, where they are cheap, are this many times the repetitions."""

EXACT_CAUGHT = 0.05
"""What must be caught of a promise that something never happens."""


@dataclass(frozen=True, kw_only=True)
class CalibrationPlan:
    """Settings of a calibration: claims, sequence lengths, number of repetitions, seed.

    Attributes:
        repetitions: Studies of planted attention for each world and length up to 256, 8 heads each.
        lengths: Tokens of a document.
        seed: Seed of everything.
        claims: Registry names; empty for all.

    Raises:
        UsageError: A claim does not exist, a length is below 16, or there is no repetition.
    """

    repetitions: int = 24
    lengths: tuple[int, ...] = LENGTHS
    seed: int = 0
    claims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [claim for claim in self.claims if claim not in CHECKS]
        if unknown:
            raise UsageError(f"claims: no such claim: {', '.join(unknown)}; expected some of {', '.join(CHECKS)}")
        if not self.lengths or min(self.lengths) < 16:
            raise UsageError(f"lengths: expected 16 or more, got {', '.join(map(str, self.lengths)) or 'none'}")
        if self.repetitions < 2:
            raise UsageError(f"repetitions: expected 2 or more, got {self.repetitions}")

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the claims to calibrate."""
        return self.claims or tuple(CHECKS)

    def trials(self, length: int, least: int = 2) -> int:
        """Return the number of repetitions at a sequence length."""
        short = SHORT_SHARE if length <= FRESH_LENGTH else 1
        return max(least, round(short * self.repetitions * min(1.0, FULL_LENGTH / length)))

    def fresh(self, length: int) -> int:
        """Return how many random models to simulate at a sequence length; rates are pooled over lengths, so long ones
        need fewer.
        """
        share = FRESH_SHARE if length >= FRESH_LEAST else 1
        return max(1, round(share * self.repetitions * min(1.0, FRESH_LENGTH / length) ** 2))


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How often one rule of an older guide said yes, for one kind of simulated attention and one sequence length.

    Attributes:
        rule: The rule in words.
        world: The kind of attention.
        length: Tokens.
        causal: Whether attention was causal.
        count: Answers that were yes.
        trials: Answers.
    """

    rule: str
    world: str
    length: int
    causal: bool
    count: int
    trials: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The results of a calibration.

    Attributes:
        plan: What was asked.
        rates: Every rate.
        answers: What the older guide says.
        untested: Wanted claims without a test, and why.
        seconds: Wall-clock time.
    """

    plan: CalibrationPlan
    rates: Sequence[Rate]
    answers: Sequence[Answers]
    untested: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @cached_property
    def promises(self) -> list[Rate]:
        """Simulated rates pooled over sequence lengths, each with the bound that was promised for it."""
        found: dict[tuple[object, ...], list[Rate]] = {}
        for rate in self.rates:
            key = (rate.claim, rate.event, rate.world, rate.causal, rate.promise, rate.nominal)
            found.setdefault(key, []).append(rate)
        return [pooled(rates) for rates in found.values()]

    @property
    def broken(self) -> list[Rate]:
        """Rates that violate their promised bound, after Bonferroni adjustment over all promises."""
        return [rate for rate in self.promises if not rate.kept(len(self.promises))]

    @property
    def blunt(self) -> list[Rate]:
        """Rates with too few trials to test their promise: even twice the promised error rate would have passed."""
        tests = len(self.promises)
        return [rate for rate in self.promises if rate.nominal < 1.0 and not _is_sharp(rate, tests)]


def _is_sharp(rate: Rate, tests: int) -> bool:
    """Whether twice the promised error, or half the missing power, would have been caught with 80 % (exact: 5 %)."""
    caught = rate.caught(tests)
    if rate.promise == AT_LEAST:
        return caught >= 2.0 * rate.nominal - 1.0 if rate.nominal < 1.0 else True
    return caught <= max(2.0 * rate.nominal, EXACT_CAUGHT)


Job = tuple[str, Callable[[], Iterable[Rate]]]


def calibrate(
    plan: CalibrationPlan, progress: Callable[[int, int, str], None] = lambda done, total, what: None
) -> Calibration:
    """Run every simulation of a plan and return the results.

    Args:
        plan: What and how much.
        progress: Called with (done, total, what).

    Returns:
        All rates.
    """
    started = time.monotonic()
    jobs = list(_jobs(plan))
    rates: list[Rate] = []
    for done, (what, job) in enumerate(jobs):
        progress(done, len(jobs), what)
        rates += job()
    answers = list(_answers(plan)) if not plan.claims else []
    return Calibration(
        plan=plan,
        rates=rates,
        answers=answers,
        untested={claim: why for claim, why in WITHOUT_TEST.items() if claim in plan.wanted},
        seconds=time.monotonic() - started,
    )


def _jobs(plan: CalibrationPlan) -> Iterator[Job]:
    wanted, seed, repetitions = plan.wanted, _seed(plan), plan.repetitions
    for place, shape in enumerate(SKEW):
        yield f"losses, {shape}", partial(loss_rates, shape, wanted, 52 * repetitions, seed + place)
        if not plan.claims:
            yield f"bounds, {shape}", partial(bound_rates, shape, 200 * repetitions, seed + place)
            yield f"looks, {shape}", partial(sequential_rates, shape, 40 * repetitions, seed + place)
            yield f"ablation by looks, {shape}", partial(ablation_rates, shape, 11 * repetitions, seed + place)
            yield f"ranked heads, {shape}", partial(screened_rates, shape, 20 * repetitions, seed + place)
    if CORRELATION in wanted:
        for layers in LAYERS:
            for noise in NOISE:
                yield f"{layers} {noise}", partial(correlation_rates, layers, noise, 24 * repetitions, seed + layers)
        for layers in FEW_LAYERS:
            yield f"documents, {layers} layers", partial(document_rates, layers, 24 * repetitions, seed + layers)
    for length in plan.lengths:
        few = max(1, round(plan.repetitions * min(1.0, FULL_LENGTH / length)) // 3)
        fresh = plan.fresh(length)
        yield f"planted faults, {length} tokens", partial(fault_rates, length, wanted, few, seed)
        for world in WORLDS:
            for hides in (True, False):
                trials = plan.trials(length)
                job = partial(interval_rates, world, length, hides, wanted, trials, seed)
                yield f"{world.name}, {length} tokens", job
        for place, one in enumerate(ARCHITECTURES):
            other = seed + 1009 * (length + place)  # other models at every length: the trials are pooled
            yield f"fresh {one.name}, {length} tokens", partial(fresh_rates, one, length, wanted, fresh, other)


def _seed(plan: CalibrationPlan) -> int:
    return plan.seed * 1_000_003 + 11


def _answers(plan: CalibrationPlan) -> Iterator[Answers]:
    """What the older guide says of the first documents of the same planted attention."""
    for length in plan.lengths:
        for world in WORLDS[:-1]:
            for hides in (True, False):
                yes: Counter[str] = Counter()
                all_of: Counter[str] = Counter()
                for k in range(max(2, plan.trials(length) // 2)):
                    call, ids = planted_call_of(world, length, hides, _seed(plan) + k)
                    for rule, message in seed_answers(call, ids).items():
                        yes[rule] += sum(message)
                        all_of[rule] += len(message)
                for rule, trials in all_of.items():
                    if trials:
                        yield Answers(
                            rule=rule, world=world.name, length=length, causal=hides, count=yes[rule], trials=trials
                        )


CLAIM = "loss differences"
DOCUMENTS = (16, 32, 64, 128, 256, 512)


def bound_rates(shape: str, trials: int, seed: int) -> Iterator[Rate]:
    """Simulate how often a confidence interval lies wholly below or wholly above the true mean, by number of documents.

    Args:
        shape: A name of ``losses.SKEW``.
        trials: Samples of each number of documents.
        seed: Seed.
    """
    random = np.random.default_rng(seed)
    for documents in DOCUMENTS:
        interval = skew_t(noise_of(shape, random, (documents, trials)))
        beyond = {"above": np.asarray(interval.high) < 0, "below": np.asarray(interval.low) > 0}
        for side, missed in beyond.items():
            yield Rate(
                claim=CLAIM, event=f"true mean {side} the interval", world=f"{shape}, {documents} documents",
                count=int(missed.sum()), trials=trials, nominal=0.025,
            )  # fmt: skip


_EXACT = "exact, and of models with beliefs alone, which need an extra: its own tests plant the fault"

WITHOUT_TEST = {
    "divergence_is_proper": _EXACT,
    "global_rotation_is_unseen": _EXACT,
    "tables_learn_through_attention": _EXACT,
    "beliefs_are_diverse": "a description: it makes no claim that could be false (verdict INFO)",
    "mass_by_distance": "a description: it makes no claim that could be false (verdict INFO)",
    "ablation_signature": "a name for five intervals (verdict INFO): their own rates are those of the five claims of "
    "section 9",
}
"""Claims without a rate of their own, and why."""


def experiments_of(claim: str) -> list[str]:
    """Return the names of the simulations that calibrate a claim; an empty list if there are none.

    Args:
        claim: Registry name.

    Returns:
        Their names; empty where it has no test, for which ``WITHOUT_TEST`` gives the reason.
    """
    behind = {
        "planted attention, margin at the truth": {one.claim for one in AT_MARGIN} | {LABELLED},
        "paired losses of known mean": set(CLAIM_OF.values()),
        "layers and documents of known correlation": {CORRELATION},
        "fresh models": {*EXACT, *LEARNED},
        "planted faults": set(FAULTS),
    }
    return [name for name, claims in behind.items() if claim in claims]
