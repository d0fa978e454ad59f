"""Record queries, keys, rows, gains and gradients of each head every N training steps."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from heedful.errors import OutputError, UsageError
from heedful.monitoring.tracker.alarms import LASTING, Alarms
from heedful.monitoring.tracker.forward_recorder import ForwardRecorder
from heedful.monitoring.tracker.forward_sums import ForwardSums
from heedful.monitoring.tracker.line import step_line
from heedful.monitoring.tracker.parameters import (
    Gains,
    Row,
    gradient_rows,
    inner_optimizers,
    shared_out,
    total_gradient,
)
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.tracker.ranks import over_ranks, rank
from heedful.monitoring.tracker.record import by_head, layer_rows
from heedful.monitoring.tracker.table import TrackTable
from heedful.monitoring.vectors.sample import Sample
from heedful.monitoring.vectors.sums import Sums, gathered


def _to_terminal(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _number(value: Tensor | float) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


class AttentionTracker(TrainerCallback):
    """Records attention during training, as a callback of transformers' Trainer or as a context manager.

    >>> trainer = Trainer(..., callbacks=[AttentionTracker(out="run", every=50)])  # doctest: +SKIP

    >>> with AttentionTracker(model, out="run", every=50, optimizer=optimizer) as tracker:  # doctest: +SKIP
    ...     for batch in batches:
    ...         loss = model(**batch).loss
    ...         loss.backward()
    ...         optimizer.step()
    ...         optimizer.zero_grad()
    ...         tracker.step(loss)

    Steps 1, k, 2k, ... are recorded: of the first training forward of such a step, a sample of queries and keys before
    and after their rotation and every row of some sequences. The model, its losses and the random state are as they
    would be without; hooks stand for that one forward, also where it raises. Over several processes (DDP, FSDP2) one
    all-reduce a recorded step makes their sums one, and rank 0 writes. What stands on the optimizer, and on the model
    where something else raised before its forward, goes with the tracker's next event or with the tracker itself;
    ``with tracker:`` around ``Trainer.train`` takes it away whatever happens.

    Gradient norms are those that the optimizer gets: after unscaling, and after clipping where there is any; alarms
    take the norm before clipping, which a plain loop tells by ``step(grad_norm=)`` and the Trainer when it logs: the
    last one told since the record before. In the Trainer the loss of a step is that of its forward, or the mean logged
    last where gradients are accumulated. A record that cannot be written is said and left out; the training goes on.

    Args:
        model: The model, for a plain loop; the Trainer names its own.
        out: Folder of the run; ``attention.parquet`` is written there.
        every: Record every so many steps.
        optimizer: The optimizer of a plain loop, or a list of them; without one there are no gradient norms and no
            curves of weight decay.
        sample: How much of a batch is measured.
        first_step: Steps made before, where a plain loop is resumed.
        write: What is done with each line; None prints it.

    Raises:
        UsageError: ``every`` is less than 1.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        out: str | Path,
        every: int = 50,
        optimizer: Any = None,
        sample: Sample | None = None,
        first_step: int = 0,
        write: Callable[[str], None] | None = None,
    ) -> None:
        if every < 1:
            raise UsageError(f"every: expected at least 1, got {every}")
        self.model, self.out, self.every, self.optimizer = model, Path(out), every, optimizer
        self.sample, self.steps = sample or Sample(), first_step
        self.alarms = Alarms(LASTING)
        self._print = write or _to_terminal
        self._watch: ForwardRecorder | None = None
        self._table: TrackTable | None = None
        self._gains = Gains()
        self._optimizers: list[torch.optim.Optimizer] = []
        self._hooks: list[Any] = []
        self._gradients: tuple[float, list[Row]] | None = None
        self._turns, self._noted, self._trained, self._clips = 0, False, False, False
        self._logged: dict[str, float] = {}

    # A plain loop.

    def __enter__(self) -> AttentionTracker:
        """Begin a plain loop; a tracker that a Trainer calls begins there."""
        if self.model is not None:
            self._begin(self.model, self.optimizer, self.steps)
            self._prepare_next()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def step(self, loss: Tensor | float | None = None, grad_norm: Tensor | float | None = None) -> None:
        """Record the step if it is due; in a plain loop, call this after ``optimizer.step()``.

        Args:
            loss: The step's loss; alarms read it at every step.
            grad_norm: Norm of all gradients before clipping, where the loop knows it; else that at the optimizer.

        Raises:
            UsageError: The tracker was given no model, or its block has not begun.
        """
        if self._table is None and rank() == 0:
            raise UsageError("tracker: step() belongs inside `with AttentionTracker(model, ...) as tracker`")
        self.steps += 1
        self._logged = {"grad_norm": _number(grad_norm)} if grad_norm is not None else {}
        self._clips = self._clips or grad_norm is not None
        self._finish(None if loss is None else _number(loss))
        self._prepare_next()

    # transformers' Trainer.

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Start recording, or continue the table from the resumed step."""
        self._begin(given["model"], given.get("optimizer"), state.global_step)
        self._clips = bool(args.max_grad_norm)

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Install hooks if the coming step is to be recorded."""
        self.steps = state.global_step
        self._prepare_next()

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the step if hooks were installed for it."""
        self.steps = state.global_step
        loss = None
        if self._watch is not None and self._watch.loss is not None and args.gradient_accumulation_steps == 1:
            loss = float(self._watch.loss)
        self._finish(loss)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """Store the loss and the unclipped gradient norm, which the Trainer reports only in its logs."""
        for name in ("loss", "grad_norm"):
            if name in (logs or {}):
                self._logged[name] = float(logs[name])
        if "loss" in (logs or {}):
            self.alarms.loss(float(logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Merge the parts of the table into one file."""
        self._end()

    # Both.

    def _begin(self, model: nn.Module, optimizer: Any, step: int) -> None:
        self._end()
        self.model, self.steps = model, step
        self._table = TrackTable(self.out, step) if rank() == 0 else None
        self._optimizers = inner_optimizers(optimizer)
        self._gains.begin(model, self._optimizers)
        self.alarms, self._noted, self._logged = Alarms(LASTING), False, {}
        self._hooks = [one.register_step_pre_hook(self._before_optimizer) for one in self._optimizers]

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if self._table is not None:
            self._table.close()
            self._table = None

    def __del__(self) -> None:
        """A tracker that is gone leaves nothing on a model; its table stays as it was recorded."""
        watch = getattr(self, "_watch", None)  # absent where the arguments were refused
        if watch is not None:
            watch.close()

    def _due(self, step: int) -> bool:
        return step == 1 or step % self.every == 0

    def _prepare_next(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self.model is not None and self._due(self.steps + 1):
            self._watch = ForwardRecorder(self.model, self.sample, self._turns, self._trained)
            self._turns += 1

    def _before_optimizer(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._gains.stepped(optimizer)
        if self._watch is None or not self._watch.done or self._gradients is not None:
            return
        begin = time.perf_counter()
        # A fused optimizer unscales by itself, later; any other has been given unscaled gradients.
        scale = float(getattr(optimizer, "grad_scale", None) or 1.0)
        rows = []
        met = self._watch.found
        for path, layer in met.layers.items():
            found = gradient_rows(layer, met.modules[path], scale)
            rows += [{"layer": layer.index, "module": path, **row} for row in found]
        if shared_out(met.modules.values()):
            met.notes[""] = "weights are shared out over processes: no norm of a head's gradient or weight"
        self._gradients = (total_gradient(self._optimizers, scale), rows)
        met.seconds += time.perf_counter() - begin

    def _finish(self, loss: float | None) -> None:
        """Record the step that is over, if it was watched."""
        watch, self._watch = self._watch, None
        if loss is not None:
            self.alarms.loss(loss)
        if watch is None:
            return
        watch.close()
        self._trained = watch.trained
        gradients, self._gradients = self._gradients, None
        if not watch.done:
            if self._due(self.steps) and not watch.broken:
                self._note_nothing()
            return
        begin = time.perf_counter()
        device = next((p.device for p in watch.model.parameters()), torch.device("cpu"))
        mean = math.nan if loss is None else loss
        parts = {f"{path}|": sums for path, sums in watch.found.sums.items()}
        own = gathered(parts | {"step|": Sums({"loss": torch.tensor(mean), "ranks": torch.tensor(1.0)})})
        merged = over_ranks(own, device)
        gains = {path: self._gains.rows(path) for path in watch.found.layers}
        if self._table is not None:
            rows = self._rows(watch.found, merged, gains, gradients or (math.nan, []))
            rows[0]["seconds"] = watch.found.seconds + time.perf_counter() - begin
            try:
                self._table.add(self.steps, rows)
            except OutputError as error:
                self._print(f"step {self.steps} is not in the table: {error}")
            self._print(step_line(self.steps, rows))
            for line in [part.line(rows) for part in TRACKER_PARTS.values()]:
                if line:
                    self._print(line)
            for row in rows:
                if row.get("alarm"):
                    self._print(f"step {self.steps} ALARM {row['alarm']}")

    def _rows(
        self, met: ForwardSums, merged: Sums, gains: dict[str, list[Row]], seen: tuple[float, list[Row]]
    ) -> list[Row]:
        norm, gradients = seen
        layers: list[Row] = []
        for path, layer in met.layers.items():
            rows = layer_rows(layer, merged.within(f"{path}|")) + gains[path]
            layers += [{"layer": layer.index, "module": path, **row} for row in rows]
        whole = merged.within("step|").added
        loss = float(whole["loss"] / whole["ranks"])
        unclipped = self._logged.pop("grad_norm", math.nan)
        broken = sum(row.get("broken", 0.0) for row in layers)
        found = self.alarms.judge(
            self.steps,
            by_head(layers, "entropy_share"),
            by_head(layers, "logit_sd"),
            unclipped if self._clips else norm,
            broken,
        )
        step = {"part": "step", "loss": self._logged.get("loss", math.nan) if math.isnan(loss) else loss}
        step |= {"gradient_norm": norm, "gradient_norm_unclipped": unclipped, "gradient_spikes": self.alarms.spikes}
        step |= {name: float(value) for name, value in met.step.items()}
        notes = [] if self._noted else [{"part": "note", "module": p, "note": n} for p, n in met.notes.items()]
        self._noted = True
        return [step, *({"part": "step", "alarm": one} for one in found), *layers, *gradients, *notes]

    def _note_nothing(self) -> None:
        if self._noted or self._table is None:
            return
        self._noted = True
        self._print(
            f"step {self.steps}: no training forward of the model was captured; nothing of attention is recorded"
        )
