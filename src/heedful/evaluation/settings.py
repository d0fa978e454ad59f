"""Options of a validation and margins of its verdicts, each margin with its source.

Report the package versions that computed the numbers.
"""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass, field
from importlib import metadata

import torch

from heedful.errors import UsageError
from heedful.evaluation.registry import CHECKS, PRESETS

NULL_MODELS = {"quick": 19, "standard": 19, "full": 99}
"""Draws of the null per preset. 19 is the least with which a head among many can be named at 5 %."""

NULLS = ("random", "untrained")

MOST_LOOKS = 8
"""Each further look halves the first one, which decides nothing in the end."""


SHORTEST_PERIOD, LONGEST_PERIOD = 8, 32
"""Periods of the repeats are drawn anew for each sequence: a fixed one could be solved by position."""


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Thresholds of effect size; a verdict compares a whole confidence interval with its threshold.

    Attributes:
        diffuse: Nats from uniform below which a head is diffuse: just above untrained GPT-2 small (0.039-0.046).
        selective: Nats from uniform above which a head is selective: logits of standard deviation 1 give 0.5.
        sharp_weight: Mean largest weight from which a selective head is sharp.
        sharp_keys: Effective keys up to which a selective head is sharp.
        log_odds: Local contrast and same-token attraction, in log odds: a factor of 1.25.
        pattern: Mass on a named pattern that makes a head a strong one; ``pattern_partial`` a partial one.
        sink: Mass on the first key that makes a sink (epsilon of arXiv:2410.10781).
        near_zero: Mass on values of near-zero norm from which a head is dormant (arXiv:2410.13835).
        content: Jensen-Shannon divergence in nats between queries at the same position in different documents.
        share_log: Log ratio of a token group's mass to its uniform share: a factor of 1.25.
        loss: Loss difference in nats per token that counts as used; below it, both ways, as unused.
        dispersal: Slope of concentration over log keys below which attention spreads with length.
        leak: Largest weight on, or relative change through, a key that a causal model must not see.
    """

    diffuse: float = 0.05
    selective: float = 0.5
    sharp_weight: float = 0.5
    sharp_keys: float = 4.0
    log_odds: float = math.log(1.25)
    pattern: float = 0.4
    pattern_partial: float = 0.2
    sink: float = 0.3
    near_zero: float = 0.5
    content: float = 0.01
    share_log: float = math.log(1.25)
    loss: float = 0.01
    dispersal: float = -0.1
    leak: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of a validation.

    Attributes:
        preset: ``quick`` (whole-model ablations), ``standard`` (each layer too), ``full`` (each head, 99 null models).
        null_models: Draws of the null: of random projections or of fresh models; None takes the preset's number.
        null_sequences: Sequences that fresh models, and the tested model beside them, are compared on.
        control_sequences: Sequences of shuffled tokens, and of random repeats.
        whole_sequences: Documents of the whole-model ablations, of which each gives a sequence; ``full`` reads all.
        layer_sequences: Documents of the per-layer and per-head ablations, beside as many that rank layers and heads.
        ranked_layers: Layers on which ``standard`` tries every arm: those expected to cost most.
        ranked_heads: Heads that ``full`` replaces alone: those expected to cost most.
        require: Claims that must PASS; anything else fails the report.
        seed: Seed of every resampling, null model, shuffle and random sequence.
        alpha: Significance level of adjusted p-values.
        resamples: Bootstrap and sign-flip resamples.
        least_units: Documents below which nothing is claimed.
        batch_tokens: Tokens that go through the model at once; on a GPU as many more as its free memory holds.
        null: What claims about learning are compared with: ``random``, query and key projections in random directions
            on the model's own inputs (claims on content: queries turned at random against keys), which holds for
            untrained models of any initialisation; ``untrained``, fresh models of the same config.
        repeat_periods: Shortest and longest period of the random repeats on which induction is measured.
        repeat_copies: Copies of a period in each of them; None for as many as the sequences have room for.
        interim_analyses: Looks at growing text in the ablations, each replacement being left once it has decided;
            1 reads all. Reports store it as ``looks``.
        margins: Effect sizes that verdicts use.
        causal: Whether the model must hide the future; None infers it from the model.
        budget: Seconds that the validation may take: what matters least is left out until it keeps to them. None
            leaves nothing out.

    Raises:
        UsageError: The preset or a required claim does not exist, a required one only describes, or a number is out of
            range.
    """

    preset: str = "standard"
    null_models: int | None = None
    null_sequences: int = 16
    control_sequences: int = 16
    whole_sequences: int = 16
    layer_sequences: int = 16
    ranked_layers: int = 5
    ranked_heads: int = 36
    require: tuple[str, ...] = ()
    seed: int = 0
    alpha: float = 0.05
    resamples: int = 1999
    least_units: int = 16
    batch_tokens: int = 2048
    null: str = NULLS[0]
    repeat_periods: tuple[int, int] = (SHORTEST_PERIOD, LONGEST_PERIOD)
    repeat_copies: int | None = None
    interim_analyses: int = 1
    margins: Margins = field(default_factory=Margins)
    causal: bool | None = None
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise UsageError(f"preset: expected one of {', '.join(PRESETS)}; got {self.preset!r}")
        if isinstance(self.require, str):
            object.__setattr__(self, "require", (self.require,))
        for name in ("null_models", "seed", "interim_analyses"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | None):
                raise UsageError(f"{name.replace('_', ' ')}: expected a whole number, got {value!r:.60}")
        budget = self.budget
        if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0):
            raise UsageError(f"budget: expected seconds above 0, got {budget!r:.60}")
        if self.null_models is not None and self.null_models < 0:
            raise UsageError(f"null models: expected 0 or more, got {self.null_models}")
        if not 1 <= self.interim_analyses <= MOST_LOOKS:
            raise UsageError(f"interim analyses: expected 1 to {MOST_LOOKS}, got {self.interim_analyses}")
        if self.null not in NULLS:
            raise UsageError(f"null: expected one of {', '.join(NULLS)}; got {self.null!r}")
        least, most = self.repeat_periods
        if not 2 <= least <= most or (self.repeat_copies is not None and self.repeat_copies < 2):
            message = f"periods of {least} to {most} and {self.repeat_copies} copies"
            raise UsageError(
                f"repeats: expected periods of 2 or more, the shorter first, and 2 copies or more; got {message}"
            )
        unknown = [claim for claim in self.require if claim not in CHECKS]
        silent = [claim for claim in self.require if claim in CHECKS and CHECKS[claim].descriptive]
        if unknown or silent:
            what = f"no such claim: {', '.join(unknown)}" if unknown else f"{', '.join(silent)}: never passes or fails"
            possible = ", ".join(name for name, facts in CHECKS.items() if not facts.descriptive)
            raise UsageError(f"require: {what}; expected some of {possible}")

    @property
    def nulls(self) -> int:
        """Number of null models to draw."""
        return NULL_MODELS[self.preset] if self.null_models is None else self.null_models

    def runs(self, preset: str) -> bool:
        """Return whether the chosen preset includes the checks of ``preset``."""
        return PRESETS.index(preset) <= PRESETS.index(self.preset)


def versions() -> dict[str, str]:
    """Return the versions of Python, torch, heedful and transformers, by name."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("heedful", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
