"""The tracker as a callback of Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from heedful.errors import UsageError
from heedful.monitoring.tracker.attention_tracker import AttentionTracker

PACKAGES = ("lightning", "pytorch_lightning")


def lightning_tracker(
    *,
    out: str | Path,
    every: int = 50,
    brief_every: int | None = None,
    model: str | None = None,
    stop_on: str | Sequence[str] = (),
    save_on: str | Sequence[str] = (),
    package: str | None = None,
    **given: Any,
) -> Any:
    """Create an ``AttentionTracker`` callback for Lightning; every logger of the Trainer gets its scalars at the
    recorded steps.

    Gradient norms are those before clipping, since Lightning clips after its last hook.

    Args:
        out: Folder of the run.
        every: Record every so many steps.
        brief_every: Largest logits, entropies and sinks alone at every so many steps besides.
        model: Attribute of the LightningModule that holds the model whose forward ``training_step`` calls; None for
            ``model`` where there is one, else the module itself.
        stop_on: Kinds of alarms at which ``trainer.should_stop`` is set.
        save_on: Kinds of alarms at which ``alarm-STEP.ckpt`` is written into ``out``.
        package: ``lightning`` or ``pytorch_lightning``; None for the one that is installed.
        **given: Further arguments of ``AttentionTracker``.

    Returns:
        A callback; its ``tracker`` is the ``AttentionTracker``.

    Raises:
        UsageError: Lightning is not installed, or an argument is refused by ``AttentionTracker``.

    Example:
        >>> Trainer(callbacks=[heedful.lightning_tracker(out="run", every=50)])  # doctest: +SKIP
    """
    names = PACKAGES if package is None else (package,)
    name = next((one for one in names if one in PACKAGES and find_spec(one) is not None), None)
    if name is None:
        raise UsageError(
            f"lightning_tracker: needs {' or '.join(names)}, which is not installed (pip install lightning)"
        )
    base: Any = import_module("lightning.pytorch" if name == "lightning" else name).Callback
    tracker = AttentionTracker(out=out, every=every, brief_every=brief_every, stop_on=stop_on, save_on=save_on, **given)
    return type("LightningTracker", (_LightningHooks, base), {})(tracker, model)


class _LightningHooks:
    """What the callback does at Lightning's hooks; the optimizer's own come before the backward there."""

    def __init__(self, tracker: AttentionTracker, model: str | None) -> None:
        super().__init__()
        self.tracker, self.model = tracker, model

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        name = self.model or ("model" if isinstance(getattr(pl_module, "model", None), nn.Module) else None)
        model = pl_module if name is None else getattr(pl_module, name, None)
        if not isinstance(model, nn.Module):
            raise UsageError(f"lightning_tracker: expected a module in {type(pl_module).__name__}.{name}, found none")
        self.tracker._begin(model, list(trainer.optimizers), trainer.global_step, hooked=False)
        self.tracker._prepare_next()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.tracker._before_optimizer(optimizer, (), {})

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        tracker = self.tracker
        if trainer.global_step <= tracker.steps:
            return  # a part of an accumulated step
        before = tracker.scalars
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        tracker.step(loss)
        if tracker.scalars is not before and tracker.scalars:
            for logger in trainer.loggers:
                logger.log_metrics(tracker.scalars, step=tracker.steps)
        trainer.should_stop = trainer.should_stop or tracker.should_stop
        if tracker.should_save:
            trainer.save_checkpoint(tracker.out / f"alarm-{tracker.steps}.ckpt")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.tracker._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.tracker._end()
