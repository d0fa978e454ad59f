"""Measure the gradient norm at every training step, and count exploding steps."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

from transformers import TrainerCallback

from heedful.loading.strict_json import read_json
from heedful.training.sweeps.measured import RunMeasure

EXPLODED = 10.0
"""A norm so many times the median of those before it is an explosion."""

BEFORE = 20
"""Steps before it that are looked at; fewer at the beginning."""

_STATE_BYTES = 64 << 20


class EveryStepLogged(TrainerCallback):
    """Trainer callback that logs every step, to record the unclipped gradient norm."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask the Trainer to log this step."""
        control.should_log = True


def gradients(trained: Path) -> list[RunMeasure]:
    """Return gradient-norm measurements of a run that logged every step.

    Pitfall: beliefs that begin nearly equal have gradients near 0, whose first growth counts too.

    Args:
        trained: Folder of a finished training run.

    Returns:
        ``gradient_explosions``, how many norms were more than ten times the median of the twenty before, or not finite;
        ``largest_gradient`` and ``median_gradient``, before clipping. ``n`` is the number of steps.
    """
    logged = read_json(trained / "trainer_state.json", _STATE_BYTES).get("log_history", [])
    norms = [_number(entry["grad_norm"]) for entry in logged if "grad_norm" in entry]
    finite = [norm for norm in norms if math.isfinite(norm)]
    return [
        RunMeasure(measure="gradient_explosions", value=float(explosions(norms)), n=len(norms)),
        RunMeasure(measure="largest_gradient", value=max(finite, default=None), n=len(norms)),
        RunMeasure(measure="median_gradient", value=median(finite) if finite else None, n=len(norms)),
    ]


def explosions(norms: list[float]) -> int:
    """Count the exploding gradient norms in a sequence of steps.

    Args:
        norms: One a step; not finite counts as exploded.
    """
    count = 0
    for place, norm in enumerate(norms):
        before = [one for one in norms[max(0, place - BEFORE) : place] if math.isfinite(one)]
        count += not math.isfinite(norm) or (bool(before) and norm > EXPLODED * median(before))
    return count


def _number(given: Any) -> float:
    return math.nan if given is None else float(given)
