"""Keep a validation within its time budget: estimate its duration before it starts, report the remaining time, and
replan once the text is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from heedful.commandline.progress import words_of
from heedful.evaluation.budget import CLAIMS, MEASURING, NULL, Costs, Plan, Remaining, Shape, chosen
from heedful.evaluation.running import run_model
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

Clock = Callable[[], float]


@dataclass
class Timekeeper:
    """Plans what a study measures within its time budget, and plans again once the text is measured.

    Attributes:
        study: The study, whose settings, text and progress it sets.
        clock: Seconds since any moment.
        started: When the validation began.
    """

    study: Study
    clock: Clock = time.perf_counter
    started: float = 0.0

    def __post_init__(self) -> None:
        self.wanted: Settings = self.study.settings
        self.costs: Costs | None = None
        self.plan = Plan(self.wanted, len(self.study.sequences.input_ids))
        self.remaining = Remaining()
        self._study_progress = self.study.progress

    def begin(self) -> None:
        """Time the forward of one sequence, choose what to measure within the budget, and report the expected
        duration.
        """
        forward, layers, heads = self._timed()
        self.costs = Costs(forward, Shape(len(self.study.sequences.input_ids), layers, heads))
        if self.wanted.budget is not None:
            self._choose(self.wanted.budget - self._spent())
        self._expect()
        announce = getattr(self._study_progress, "time_left", None)
        if announce is not None:
            announce(sum(self.remaining.ahead.values()), self._first_words())
        self.study.progress = self._progress

    def review(self) -> None:
        """Measure the text, then plan the later phases again from the time that this took; do nothing without a
        budget.
        """
        if self.costs is None or self.wanted.budget is None:
            return
        begun, expected = self.clock(), self.costs.of(self.plan)[MEASURING]
        _ = self.study.observed
        self.costs.pace = max(self._shared(self.clock() - begun) / expected, 0.1)
        self._choose(self.wanted.budget - self._spent(), measured=True)
        self._expect()

    @property
    def not_measured(self) -> list[dict[str, str]]:
        """What was left out to keep within the budget, for the report: one dict with ``what`` and ``why`` for each."""
        why = f"left out to keep to the budget of {words_of(self.wanted.budget or 0.0)}"
        return [{"what": what, "why": why} for what in self.plan.left_out]

    def why_without(self, claim: str) -> str:
        """Return why a claim was not measured; an empty string if its phase is not left out."""
        phase = next((phase for phase in self.plan.without if claim in CLAIMS.get(phase, ())), "")
        return (
            phase and f"not measured: {phase} is left out to keep to the budget of {words_of(self.wanted.budget or 0)}"
        )

    def _choose(self, seconds: float, measured: bool = False) -> None:
        if self.costs is None:
            return
        self.plan = chosen(self.plan, self.costs, seconds, measured=measured)
        study = self.study
        study.settings, study.without = self.plan.settings, self.plan.without
        if self.plan.sequences < len(study.sequences.input_ids):
            study.sequences = first_sequences(study.sequences, self.plan.sequences)
            study.__dict__.pop("batches", None)
        if NULL in self.plan.without:
            study.null_reason = "left out to keep to the budget"

    def _expect(self) -> None:
        if self.costs is not None:
            self.remaining.ahead = self.costs.of(self.plan)

    def _first_words(self) -> str:
        words = f"preset {self.plan.settings.preset}, {self.plan.sequences} sequences"
        return f"{words}; left out: {', '.join(self.plan.left_out)}" if self.plan.left_out else words

    def _progress(self, done: int, total: int, what: str) -> None:
        left, seconds = getattr(self._study_progress, "left", None), self.remaining.at(what)
        if left is not None and seconds is not None:
            left(seconds)
        self._study_progress(done, total, what)

    def _spent(self) -> float:
        return self._shared(self.clock() - self.started)

    def _shared(self, seconds: float) -> float:
        """The seconds of the first process, so that all plan alike."""
        ranks = self.study.ranks
        (shared,) = ranks.merged([np.array([seconds])], np.array([ranks.rank == 0]))
        return float(shared[0])

    def _timed(self) -> tuple[float, int, int]:
        """Seconds of one forward of one sequence, and the numbers of modules and heads that it met."""
        study, met = self.study, dict[str, int]()
        batch = study.batches[0].rows(slice(0, 1))

        def visit(event: AttentionEvent) -> None:
            met[event.path] = event.call.heads * (1 if event.part is None else event.part.count)

        with torch.no_grad():
            with intercept(study.model, visit):
                run_model(study.model, batch.input_ids, batch.attention_mask)
            begun = self.clock()
            run_model(study.model, batch.input_ids, batch.attention_mask)
            seconds = self.clock() - begun
        return self._shared(max(seconds, 1e-6)), len(met), sum(met.values())


def first_sequences(sequences: TokenBatch, count: int) -> TokenBatch:
    """Return the first ``count`` sequences of a text, with a note that the budget leaves no time for more.

    Args:
        sequences: The text.
        count: How many to keep.
    """
    parts = ("input_ids", "attention_mask", "document", "special", "punctuation")
    note = f"the first {count} of {len(sequences.input_ids)} sequences: the budget leaves no time for more"
    kept = {name: getattr(sequences, name)[:count] for name in parts}
    return replace(sequences, **kept, notes=(*sequences.notes, note))
