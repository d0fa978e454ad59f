"""Record statistics of queries, keys, attention rows, norm gains and gradients of each head every N training steps."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from heedful.errors import OutputError, UsageError
from heedful.monitoring.tracker.alarm import Alarm, kinds_of
from heedful.monitoring.tracker.alarms import LASTING, Alarms, readings_of
from heedful.monitoring.tracker.forward_sums import ForwardRecorder, ForwardSums, over_ranks, rank
from heedful.monitoring.tracker.parameters import (
    Gains,
    Row,
    Updates,
    gradient_rows,
    inner_optimizers,
    shared_out,
    total_gradient,
)
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.tracker.record import head_lines, layer_rows, step_line
from heedful.monitoring.tracker.scalars import PREFIX, scalars
from heedful.monitoring.tracker.table import TrackTable
from heedful.monitoring.vectors.sums import Sums, gathered
from heedful.monitoring.vectors.vectors import Sample


def _to_terminal(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


PRINTING = ("PrinterCallback", "ProgressCallback", "NotebookProgressCallback")
"""Callbacks of the Trainer that write its logs to a terminal or notebook."""


class _WithoutScalars(TrainerCallback):
    """Takes the tracker's hundreds of numbers out of the logs before they are printed: it prints a line of its own."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        for name in [name for name in logs or {} if name.startswith(PREFIX)]:
            del logs[name]


def _number(value: Tensor | float) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


KEPT = 50
"""Brief records that are written together."""


class AttentionTracker(TrainerCallback):
    """Records attention during training, as a callback of transformers' Trainer or as a context manager.

    >>> tracker = AttentionTracker(out="run", every=50).attach(trainer)  # doctest: +SKIP

    >>> with AttentionTracker(model, out="run", every=50, optimizer=optimizer) as tracker:  # doctest: +SKIP
    ...     for batch in batches:
    ...         loss = model(**batch).loss
    ...         loss.backward()
    ...         optimizer.step()
    ...         optimizer.zero_grad()
    ...         tracker.step(loss)

    Steps 1, k, 2k, ... are recorded: of the first training forwards of such a step, a sample of queries and keys before
    and after their rotation and every row of some sequences. The model, its losses and the random state are as they
    would be without; hooks stand until the sample is full, and go also where a forward raises. Over several processes
    (DDP, FSDP2) one all-reduce a recorded step makes their sums one, and rank 0 writes. What stands on the optimizer,
    and on the model where something else raised before its forward, goes with the tracker's next event or with the
    tracker itself; ``with tracker:`` around ``Trainer.train`` takes it away whatever happens.

    ``scalars`` holds the last record under the names of curves (``attention/max_logit``,
    ``attention/layer_07/entropy_min``, ...), for whatever logs the loss. In the Trainer they join its own logs:
    ``attach`` puts the tracker before the callbacks that report, so that TensorBoard, W&B, MLflow and trackio get them;
    given as ``callbacks=[tracker]`` it comes after those, and only ``state.log_history`` has them.

    Gradient norms are those that the optimizer gets: after unscaling, and after clipping where there is any; alarms
    take the norm before clipping, which a plain loop tells by ``step(grad_norm=)`` and the Trainer when it logs: the
    last one told since the record before. In the Trainer the loss of a step is that of its forward, or the mean logged
    last where gradients are accumulated. A record that cannot be written is said and left out; the training goes on.

    Args:
        model: The model, for a plain loop; the Trainer names its own.
        out: Folder of the run; ``attention.parquet`` is written there.
        every: Record every so many steps.
        brief_every: Record largest logits, entropies and sinks alone at every so many steps besides, of half the
            sample's sequences; None for never. A recorded forward runs in eager form, so that with 1 a compiled model
            is never compiled.
        optimizer: The optimizer of a plain loop, or a list of them; without one there are no gradient norms, no sizes
            of updates and no curves of weight decay.
        sample: How much of a batch is measured.
        first_step: Steps made before, where a plain loop is resumed.
        stop_on: Kinds of alarms that end the training, or ``"any"``: the Trainer and Lightning stop, a plain loop reads
            ``should_stop``.
        save_on: Kinds of alarms at which a checkpoint is written: the Trainer and Lightning do so, a plain loop reads
            ``should_save``.
        per_head: Whether each head gets a line of its own.
        write: What is done with each line; None prints it.

    Attributes:
        scalars: The last record as numbers by name; empty before the first one, and in processes that do not write.
        should_stop: Whether an alarm of ``stop_on`` was raised.
        should_save: Whether one of ``save_on`` was raised at the step that is over.

    Raises:
        UsageError: ``every`` or ``brief_every`` is less than 1, or a kind of alarm is unknown.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        out: str | Path,
        every: int = 50,
        brief_every: int | None = None,
        optimizer: Any = None,
        sample: Sample | None = None,
        first_step: int = 0,
        stop_on: str | Sequence[str] = (),
        save_on: str | Sequence[str] = (),
        per_head: bool = False,
        write: Callable[[str], None] | None = None,
    ) -> None:
        for name, number in (("every", every), ("brief_every", brief_every)):
            if number is not None and number < 1:
                raise UsageError(f"{name}: expected at least 1, got {number}")
        self.model, self.out, self.every, self.optimizer = model, Path(out), every, optimizer
        self.brief_every, self.per_head = brief_every, per_head
        self.sample, self.steps = sample or Sample(), first_step
        self.alarms = Alarms(LASTING)
        self.scalars: dict[str, float] = {}
        self.should_stop = self.should_save = False
        self._stop_on, self._save_on = kinds_of("stop_on", stop_on), kinds_of("save_on", save_on)
        self._print = write or _to_terminal
        self._watch: ForwardRecorder | None = None
        self._table: TrackTable | None = None
        self._gains, self._updates = Gains(), Updates()
        self._optimizers: list[torch.optim.Optimizer] = []
        self._hooks: list[Any] = []
        self._gradients: tuple[float, list[Row]] | None = None
        self._turns, self._noted, self._trained, self._clips = 0, False, False, False
        self._logged: dict[str, float] = {}
        self._unlogged: dict[str, float] = {}
        self._pending: list[tuple[int, list[Row]]] = []
        self._attached = False

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

    def attach(self, trainer: Any) -> AttentionTracker:
        """Add the tracker to a Trainer ahead of the callbacks that log, so that they log its scalars together with the
        loss.

        Args:
            trainer: One of transformers, or of a library built upon it.

        Returns:
            The tracker itself.

        Raises:
            UsageError: It is no Trainer.

        Example:
            >>> AttentionTracker(out="run", every=50).attach(trainer)  # doctest: +SKIP
        """
        callbacks = getattr(getattr(trainer, "callback_handler", None), "callbacks", None)
        if not isinstance(callbacks, list):
            raise UsageError(f"attach: expected a Trainer of transformers, got {type(trainer).__name__}")
        self._attached = True
        if self in callbacks:
            callbacks.remove(self)
        callbacks.insert(0, self)
        printing = next(
            (place for place, one in enumerate(callbacks) if type(one).__name__ in PRINTING), len(callbacks)
        )
        callbacks.insert(printing, _WithoutScalars())
        return self

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
        control.should_training_stop = control.should_training_stop or self.should_stop
        control.should_save = control.should_save or self.should_save

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """Keep the loss and the unclipped gradient norm, which the Trainer reports only here, and add the tracker's
        scalars to the log.
        """
        for name in ("loss", "grad_norm"):
            if name in (logs or {}):
                self._logged[name] = float(logs[name])
        if "loss" in (logs or {}):
            self.alarms.loss(float(logs["loss"]))
            if self._attached:
                logs.update(self._unlogged)
            if state.log_history and state.log_history[-1].get("step") == state.global_step:
                state.log_history[-1].update(self._unlogged)
            self._unlogged = {}

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Merge the table's part files, one per recorded step, into a single file."""
        self._end()

    # Both.

    def _begin(self, model: nn.Module, optimizer: Any, step: int, hooked: bool = True) -> None:
        self._end()
        self.model, self.steps = model, step
        self._table = TrackTable(self.out, step) if rank() == 0 else None
        self._optimizers = inner_optimizers(optimizer)
        self._gains.begin(model, self._optimizers)
        self.alarms, self._noted, self._logged = Alarms(LASTING), False, {}
        self.scalars, self._unlogged, self.should_stop, self.should_save = {}, {}, False, False
        if hooked:
            self._hooks = [one.register_step_pre_hook(self._before_optimizer) for one in self._optimizers]

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if self._table is not None:
            self._flush()
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
        step = self.steps + 1
        brief = self.brief_every is not None and step % self.brief_every == 0 and not self._due(step)
        if self.model is not None and (brief or self._due(step)):
            sample = self.sample.half if brief else self.sample
            self._watch = ForwardRecorder(self.model, sample, self._turns, self._trained, brief)
            self._turns += not brief

    def _before_optimizer(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._gains.stepped(optimizer)
        if self._watch is None or not self._watch.done or self._gradients is not None:
            return
        if self._watch.found.brief:
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
        self._updates.begin(met.modules)
        met.seconds += time.perf_counter() - begin

    def _finish(self, loss: float | None) -> None:
        """Record the step that is over, if it was watched."""
        watch, self._watch = self._watch, None
        if loss is not None:
            self.alarms.loss(loss)
        if watch is None:
            return
        watch.close()
        self._trained, self.should_save = watch.trained, False
        gradients, self._gradients = self._gradients, None
        if not watch.done:
            if self._due(self.steps) and not watch.broken:
                self._note_nothing()
            return
        begin = time.perf_counter()
        met = watch.found
        device = next((p.device for p in watch.model.parameters()), torch.device("cpu"))
        mean = math.nan if loss is None else loss
        parts = {f"{path}|": sums for path, sums in met.sums.items()}
        own = gathered(parts | {"step|": Sums({"loss": torch.tensor(mean), "ranks": torch.tensor(1.0)})})
        merged = over_ranks(own, device)
        brief = met.brief
        gains = {} if brief else {path: self._gains.rows(path) for path in met.layers}
        updates = self._updates.end()
        raised: list[Alarm] = []
        if self._table is not None:
            layers = [] if not met.layers else self._layers(met, merged, gains, updates)
            rows, raised = self._rows(met, merged, layers, gradients or (math.nan, []))
            rows[0]["seconds"] = met.seconds + time.perf_counter() - begin
            self.scalars = scalars(self.steps, rows)
            self._unlogged |= self.scalars
            self._pending.append((self.steps, rows))
            if not brief or raised or len(self._pending) >= KEPT:
                self._flush()
            self._print_heads(rows, raised, brief)
        self._agree(raised, device)

    def _flush(self) -> None:
        """Write the records that wait."""
        waiting, self._pending = self._pending, []
        if self._table is None or not waiting:
            return
        try:
            self._table.add_all(waiting)
        except OutputError as error:
            named = ", ".join(str(step) for step, _ in waiting[-3:])
            self._print(f"step {named} is not in the table: {error}")

    def _print_heads(self, rows: list[Row], raised: list[Alarm], brief: bool) -> None:
        if not brief:
            self._print(step_line(self.steps, rows))
            for line in head_lines(rows) if self.per_head else ():
                self._print(line)
            for part in TRACKER_PARTS.values():
                for line in part.line(rows).splitlines():
                    self._print(line)
        for alarm in raised:
            self._print(f"step {self.steps} ALARM {alarm.message}")
            self._print(f"  {alarm.advice}")

    def _agree(self, raised: list[Alarm], device: torch.device) -> None:
        """All processes stop or save where the one that judges says so."""
        if not self._stop_on and not self._save_on:
            return
        kinds = {alarm.kind for alarm in raised}
        told = Sums(
            {
                "stop": torch.tensor(float(bool(kinds & self._stop_on))),
                "save": torch.tensor(float(bool(kinds & self._save_on))),
            }
        )
        agreed = over_ranks(told, device).added
        self.should_stop = self.should_stop or bool(agreed["stop"] > 0)
        self.should_save = bool(agreed["save"] > 0)

    def _layers(
        self, met: ForwardSums, merged: Sums, gains: dict[str, list[Row]], updates: dict[str, Row]
    ) -> list[Row]:
        layers: list[Row] = []
        for path, layer in met.layers.items():
            rows = layer_rows(layer, merged.within(f"{path}|"))
            rows[-1] |= updates.get(path, {})
            layers += [{"layer": layer.index, "module": path, **row} for row in rows + gains.get(path, [])]
        return layers

    def _rows(
        self, met: ForwardSums, merged: Sums, layers: list[Row], seen: tuple[float, list[Row]]
    ) -> tuple[list[Row], list[Alarm]]:
        norm, gradients = seen
        whole = merged.within("step|").added
        loss = float(whole["loss"] / whole["ranks"])
        unclipped = self._logged.pop("grad_norm", math.nan)
        telling = unclipped if self._clips else norm
        raised = self.alarms.judge(self.steps, readings_of([*layers, *gradients], telling, norm, not met.brief))
        step = {"part": "step", "loss": self._logged.get("loss", math.nan) if math.isnan(loss) else loss}
        step |= {"gradient_norm": norm, "gradient_norm_unclipped": unclipped, "gradient_spikes": self.alarms.spikes}
        step |= {name: float(value) for name, value in met.step.items()}
        notes = [] if self._noted else [{"part": "note", "module": p, "note": n} for p, n in met.notes.items()]
        self._noted = True
        return [step, *(alarm.row for alarm in raised), *layers, *gradients, *notes], raised

    def _note_nothing(self) -> None:
        if self._noted or self._table is None:
            return
        self._noted = True
        self._print(
            f"step {self.steps}: no training forward of the model was captured; nothing of attention is recorded"
        )
