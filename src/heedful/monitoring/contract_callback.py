"""Check the contract of a training run: its first batch as the model gets it, then one every so many steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heedful.contract.check import check
from heedful.contract.record import Contract, ContractReport
from heedful.contract.running import WRAPPERS
from heedful.errors import HeedfulError, UsageError

REACTIONS = ("stop", "warn")


class ContractBroken(HeedfulError):
    """A training run was stopped because its batch or model breaks what config and batch promise.

    Attributes:
        report: What was found.
    """

    exit_code = 1

    def __init__(self, report: ContractReport) -> None:
        self.report = report
        first = report.broken[0]
        where = first.path or "the whole model"
        super().__init__(
            f"contract: {first.promise} is broken in {where}: {first.found} "
            f"(remedy: {first.remedy.text if first.remedy else 'see the report'})"
        )


class ContractCallback(TrainerCallback):
    """Checks the first batch of a run and one every so many steps; a Trainer callback, or a context manager.

    >>> trainer = Trainer(..., callbacks=[ContractCallback()])  # doctest: +SKIP

    >>> with ContractCallback(model, every=500) as watch:  # doctest: +SKIP
    ...     for batch in batches:
    ...         loss = model(**batch).loss

    The check is made inside the forward of the training step, on the very keyword arguments that the trainer passes:
    what a collator, a wrapper or the trainer's own ``use_cache=False`` makes of a batch is what is judged. Weights,
    gradients, flags and random state are as they would be without. Over several processes each checks its own rows,
    and all of them make the same number of forwards; gradients are never taken, so that no reduction is begun.

    Pitfall: promises that the first batch does not exercise (nothing packed, nothing longer than the window) say
    nothing of later ones; ``every`` looks again.

    Args:
        model: The model, for a plain loop; the Trainer names its own.
        every: Check again every so many forwards in training mode; 0: the first alone.
        contract: Promises that overrule config and batch.
        on_breach: ``stop`` raises ``ContractBroken``, ``warn`` prints the report and goes on.
        write: What is done with each line; None prints it on rank 0.

    Attributes:
        reports: What the checks found, in their order.
        forwards: Forwards in training mode that were seen.
        seconds: Wall time of each check.

    Raises:
        UsageError: ``every`` is negative or ``on_breach`` is unknown.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        every: int = 0,
        contract: Contract | None = None,
        on_breach: str = "stop",
        write: Callable[[str], None] | None = None,
    ) -> None:
        if every < 0:
            raise UsageError(f"every: expected at least 0, got {every}")
        if on_breach not in REACTIONS:
            raise UsageError(f"on_breach: expected one of {', '.join(REACTIONS)}; got {on_breach!r}")
        self.model, self.every, self.contract, self.on_breach = model, every, contract, on_breach
        self.reports: list[ContractReport] = []
        self.seconds: list[float] = []
        self.forwards = 0
        self._write = write or _to_terminal
        self._handle: Any = None
        self._checking = False

    def __enter__(self) -> ContractCallback:
        """Begin a plain loop."""
        if self.model is not None:
            self._begin(self.model)
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Attach to the model that the Trainer passes."""
        self._begin(more["model"])

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Remove the hook."""
        self._end()

    def _begin(self, model: nn.Module) -> None:
        self._end()
        while isinstance(model, WRAPPERS):
            model = model.module
        self._handle = model.register_forward_pre_hook(self._meets, with_kwargs=True)

    def _end(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _meets(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._checking or not module.training or torch._C._current_graph_task_id() != -1:
            return
        self.forwards += 1
        due = self.forwards == 1 or (self.every and self.forwards % self.every == 0)
        if not due:
            return
        if args:
            self._skip("its forward is called with positional arguments, whose names are not known")
            return
        self._checking = True
        try:
            self._check(module, kwargs)
        finally:
            self._checking = False

    def _check(self, module: nn.Module, kwargs: dict[str, Any]) -> None:
        begun = time.perf_counter()
        try:
            report = check(module, dict(kwargs), contract=self.contract, gradients=False)
        except HeedfulError as error:
            self._skip(str(error))
            return
        self.reports.append(report)
        self.seconds.append(time.perf_counter() - begun)
        if report.held:
            self._tell([f"contract: forward {self.forwards}: {_counted(report)} in {self.seconds[-1]:.2g} s"])
            return
        if not report.broken:
            self._skip("no promise of this batch can be judged")
            return
        self._tell([f"contract: forward {self.forwards}: broken", *str(report).splitlines()])
        if self.on_breach == "stop":
            self._end()
            raise ContractBroken(report)

    def _skip(self, why: str) -> None:
        self._tell([f"contract: forward {self.forwards} was not checked: {why}"])

    def _tell(self, told: list[str]) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if distributed and torch.distributed.get_rank() != 0:
            return
        for line in told:
            self._write(line)


def _counted(report: ContractReport) -> str:
    held = sorted({one.promise for one in report.judgements if one.status == "held"})
    return f"{', '.join(held)} hold"


def _to_terminal(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
