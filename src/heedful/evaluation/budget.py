"""Estimate how long a validation takes, and choose what to leave out to keep within a time budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from heedful.evaluation.ablation import ARMS
from heedful.evaluation.settings import NULL_MODELS, Settings

MEASURING, EXACT, BACKWARD, SHUFFLED, REPEATS, NULL, WHOLE, LAYERS, HEADS, JUDGING = (
    "measuring attention",
    "exact proofs",
    "backward",
    "shuffled tokens",
    "repeats",
    "random projections",
    "ablation of the whole model",
    "ablation of each layer",
    "ablation of each head",
    "judging",
)
"""What takes time, in the order in which the answers matter; the names are those of progress where it tells of them."""

CLAIMS = {
    BACKWARD: ("gradients_reach_attention", "tables_learn_through_attention"),
    SHUFFLED: ("adjacent_queries_differ", "distant_queries_differ"),
    REPEATS: ("induction",),
    WHOLE: (
        "attention_output_matters",
        "learned_weights_matter",
        "more_than_position_matters",
        "own_text_matters",
        "more_than_local_average_matters",
        "ablation_signature",
    ),
}
"""Claims that a phase alone can settle: they are skipped where it is left out."""

READ, EXACTLY, BACK, AGAIN, ARM, FROM_A_LAYER, DRAW = 1.8, 36.0, 3.0, 1.1, 1.1, 0.75, 0.32
"""Forwards of one sequence, with its loss, that one sequence costs in a phase; both exact proofs in all; a draw on one
sequence. Measured with SmolLM2-135M, 128 tokens (docs/log/verdicts.md)."""

DRAWN_ON = 4
"""Sequences of each draw: of the text and of repeats."""

FIXED, A_HEAD = 2.0, 0.006
"""Seconds that a validation takes whatever the model, and more for each head."""

FEWEST = 16
"""Documents to which the text is cut, not below."""


@dataclass(frozen=True)
class Shape:
    """Numbers of sequences, attention modules and heads, from which the duration of a validation is estimated.

    Attributes:
        sequences: Sequences of the text.
        layers: Attention modules.
        heads: Heads of all of them.
    """

    sequences: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Plan:
    """What a validation measures within its time budget: its settings, the number of sequences, and the phases left
    out.

    Attributes:
        settings: Options, the preset and the number of draws lowered where time is short.
        sequences: Sequences that are read.
        without: Phases that are left out.
        left_out: What is left out, in words.
    """

    settings: Settings
    sequences: int
    without: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass
class Costs:
    """Estimate of the seconds that each phase of a validation takes.

    Attributes:
        forward: Seconds of one forward of one sequence.
        shape: Of model and text.
        pace: Seconds that the measuring pass took over those that were expected; 1 before it has run.
    """

    forward: float
    shape: Shape
    pace: float = 1.0

    def of(self, plan: Plan) -> dict[str, float]:
        """Return the expected seconds of each phase that a plan measures, by phase name."""
        found = {name: cost * self.forward * self.pace for name, cost in self._forwards(plan).items() if cost > 0}
        return {**found, JUDGING: FIXED + A_HEAD * self.shape.heads}

    def _forwards(self, plan: Plan) -> dict[str, float]:
        settings, shape, read = plan.settings, self.shape, plan.sequences
        controls, ranking = min(settings.control_sequences, read), settings.layer_sequences
        many = shape.layers > settings.ranked_layers and read >= 2 * ranking
        full, tested = settings.runs("full"), ranking if many else min(2 * ranking, read)
        ranked = settings.ranked_layers if many and not full else shape.layers
        arms = shape.layers + ranked * (len(ARMS) - 1)
        heads = min(settings.ranked_heads, shape.heads) if read >= 2 * ranking else shape.heads
        costs = {
            MEASURING: READ * read,
            EXACT: EXACTLY,
            BACKWARD: BACK * (ranking if many and settings.runs("standard") else min(4, read)),
            SHUFFLED: AGAIN * controls,
            REPEATS: AGAIN * controls,
            NULL: DRAWN_ON * (1 + DRAW * settings.nulls) if settings.nulls else 0.0,
            WHOLE: ARM * len(ARMS) * (read if full else min(settings.whole_sequences, read)),
            LAYERS: FROM_A_LAYER * tested * (arms + 2) if settings.runs("standard") else 0.0,
            HEADS: FROM_A_LAYER * tested * heads if full else 0.0,
        }
        return {name: 0.0 if name in plan.without else cost for name, cost in costs.items()}


def plans(plan: Plan, *, measured: bool = False) -> Iterator[Plan]:
    """Yield the plan, then smaller and smaller plans; what matters least is left out first.

    Args:
        plan: What was asked for, or what is left of it.
        measured: Whether its text has been measured, so that it is not cut any more.
    """
    yield plan
    given = plan.settings.null_models
    for preset, what, above in (("standard", HEADS, "full"), ("quick", LAYERS, "standard")):
        if plan.settings.runs(above):
            draws = given if given is not None or preset == "quick" else min(plan.settings.nulls, NULL_MODELS[preset])
            settings = replace(plan.settings, preset=preset, null_models=draws)
            plan = replace(plan, settings=settings, left_out=(*plan.left_out, what))
            yield plan
    every, least = plan.sequences, max(FEWEST, plan.settings.least_units)
    before = plan.left_out
    while plan.sequences > least and not measured:
        fewer = max(plan.sequences // 2, least)
        plan = replace(plan, sequences=fewer, left_out=(*before, f"{every - fewer} of {every} sequences"))
        yield plan
    for phase in (WHOLE, NULL, REPEATS, SHUFFLED, BACKWARD):
        if phase in plan.without:
            continue
        settings = replace(plan.settings, null_models=0) if phase == NULL else plan.settings
        words = "draws of the null" if phase == NULL else phase
        plan = Plan(settings, plan.sequences, (*plan.without, phase), (*plan.left_out, words))
        yield plan


def chosen(start: Plan, costs: Costs, seconds: float, *, measured: bool = False) -> Plan:
    """Return the first of ``plans(start)`` whose expected time is at most ``seconds``; the smallest plan if none fits.

    Args:
        start: What was asked for, or what is left of it.
        costs: Seconds of each phase.
        seconds: The time that is left.
        measured: Whether the text has been measured, which then costs nothing more.
    """
    plan = start
    for plan in plans(start, measured=measured):
        cost = costs.of(plan)
        if sum(cost.values()) - (cost[MEASURING] if measured else 0.0) <= seconds:
            break
    return plan


@dataclass
class Remaining:
    """Expected seconds of the phases that have not begun, updated as each phase begins.

    Attributes:
        ahead: Expected seconds of each phase that has not begun.
    """

    ahead: dict[str, float] = field(default_factory=dict)
    _begun: list[str] = field(default_factory=list)

    def at(self, what: str) -> float | None:
        """Mark a phase as begun and return the expected seconds that are left; None if the phase is unknown or began
        earlier.
        """
        if what not in self.ahead or what in self._begun:
            return None
        self._begun.append(what)
        return sum(seconds for name, seconds in self.ahead.items() if name == what or name not in self._begun)
