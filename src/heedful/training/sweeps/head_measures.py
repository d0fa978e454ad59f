"""Measure a trained folder: held-out loss, heads, last tracker record.

Measure the gradient norm at every training step, and count exploding steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import polars
from transformers import TrainerCallback

from heedful.attention.registry import STATISTICS
from heedful.evaluation.nine_sections import head_rows
from heedful.evaluation.settings import Settings
from heedful.loading.documents import load_documents
from heedful.loading.loaded_model import LoadedModel, load_model
from heedful.loading.regular_file import read_json
from heedful.loading.sequences import TokenBatch, make_sequences
from heedful.monitoring.tracker.table import SUBJECT, read_table
from heedful.training.sweeps.recipe import RunMeasure

_FIGURES_BYTES = 1 << 20
_STATE_BYTES = 64 << 20
_VERDICTS = ("SHARP", "SELECTIVE", "WEAK", "DIFFUSE", "UNDEFINED")


def held_out(trained: Path) -> list[RunMeasure]:
    """Return the loss on all held-out text in disjoint windows, and the last training loss.

    Args:
        trained: Folder of a finished training run.

    Returns:
        ``held_out_loss`` in nats per token with the number of tokens, ``perplexity``, ``bits_per_byte``, the number of
        ``parameters``, and ``training_loss`` as the Trainer logged it last.
    """
    figures = read_json(trained / "held_out.json", _FIGURES_BYTES)
    loss, tokens = float(figures["held_out_loss"]), int(figures["tokens"])
    found = [
        RunMeasure(measure="held_out_loss", value=loss, unit="nat/token", n=tokens),
        RunMeasure(measure="perplexity", value=math.exp(loss) if loss < math.log(1e300) else math.inf, n=tokens),
        RunMeasure(measure="bits_per_byte", value=float(figures["bits_per_byte"]), unit="bit/byte", n=tokens),
        RunMeasure(measure="parameters", value=float(figures["parameters"])),
    ]
    logged = read_json(trained / "trainer_state.json", _STATE_BYTES).get("log_history", [])
    losses = [entry["loss"] for entry in logged if "loss" in entry]
    if losses:
        found.append(RunMeasure(measure="training_loss", value=float(losses[-1]), unit="nat/token"))
    return found


def heads(trained: Path) -> list[RunMeasure]:
    """Return every statistic of every head on held-out text, and the number of heads by verdict.

    Args:
        trained: Folder of a finished training run.

    Returns:
        Means over documents, as in ``heedful heads``; ``n`` is the number of documents, or of blocks of few long ones.
    """
    loaded, sequences = loaded_on_held_out(trained, 64)
    rows = head_rows(loaded.model, sequences, settings=Settings(preset="quick", seed=0))
    documents = len(set(sequences.document.tolist()))
    found = []
    for row in rows:
        place: dict[str, Any] = {"layer": row.layer, "head": row.head, "label": row.label, "verdict": row.verdict}
        for name, value in row.statistics.items():
            unit = STATISTICS[name].unit if name in STATISTICS else ""
            found.append(RunMeasure(measure=name, value=value, unit=unit, n=documents, **place))
    counts = Counter(row.verdict for row in rows)
    found += [RunMeasure(measure=f"{word.lower()}_heads", value=float(counts[word]), n=len(rows)) for word in _VERDICTS]
    return found


def loaded_on_held_out(trained: Path, sequences: int) -> tuple[LoadedModel, TokenBatch]:
    """Return a trained model, and held-out sequences of its training length.

    Args:
        trained: Folder of a finished training run.
        sequences: How many, drawn by seed 0.

    Returns:
        Both.
    """
    loaded = load_model(trained)
    found = make_sequences(
        load_documents([trained / "held_out.jsonl"]),
        loaded.tokenizer,
        seq_len=int(read_json(trained / "held_out.json", _FIGURES_BYTES)["window"]),
        sequences=sequences,
        seed=0,
        max_positions=loaded.max_positions,
        vocab_size=loaded.vocab_size,
        trained_positions=loaded.trained_positions,
    )
    return loaded, found


def tracked(trained: Path) -> list[RunMeasure]:
    """Return the tracker's last record (``attention.entropy_share``, ``key.after.norm``, ...) and its alarms.

    Args:
        trained: Folder of a training run that was tracked.

    Returns:
        One number a column, layer and head; ``alarms`` is the number over the whole run.
    """
    table = read_table(trained)
    alarms = table.filter(polars.col("alarm").is_not_null()).height
    found = [RunMeasure(measure="alarms", value=float(alarms))]
    last = table.filter(polars.col("step") == polars.col("step").max())
    for row in last.iter_rows(named=True):
        name = ".".join(word for word in (row["part"], row["stage"]) if word)
        found += [
            RunMeasure(measure=f"{name}.{column}", value=value, layer=row["layer"], head=row["head"])
            for column, value in row.items()
            if column not in SUBJECT and value is not None
        ]
    return found


Measure = Callable[[Path], list[RunMeasure]]

MEASURES: dict[str, Measure] = {"held_out": held_out, "heads": heads}
"""Name to what is measured of a trained folder."""


EXPLODED = 10.0
"""A norm so many times the median of those before it is an explosion."""

BEFORE = 20
"""Steps before it that are looked at; fewer at the beginning."""


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
