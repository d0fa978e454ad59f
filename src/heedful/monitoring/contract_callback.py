"""Check mask, scale and positions during training: on the first batch, then every fixed number of steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heedful.contract.check import check
from heedful.contract.record import Contract, ContractReport
from heedful.contract.running import WRAPPERS, repeatable
from heedful.errors import HeedfulError, UsageError
from heedful.interception.held_heads import is_sharded

REACTIONS = ("stop", "warn")
BEGINS, DONE = "begins", "done"


@dataclass(frozen=True)
class Breaches:
    """Contract violations that one process found, in the form that is sent to all processes.

    Attributes:
        where: The process, in words; empty where there is but one.
        lines: The report.
        sentence: The first breach and its remedy.
    """

    where: str
    lines: list[str]
    sentence: str


class _Counted:
    """Counts the forwards of a check and, where the model is sharded, tells the other processes of each.

    A forward of a sharded model is a meeting of all processes. Each writes into their store that it begins its n-th
    forward, or that it has made all of its own; who has, reads whether another begins one, and joins it.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name, self.forwards = module, name, 0
        self._handle: Any = None
        sharded = _together() and any(is_sharded(parameter) for parameter in module.parameters())
        self._store: Any = torch.distributed.distributed_c10d._get_default_store() if sharded else None
        self._own = True

    def others_go_on(self) -> bool:
        """Whether any process begins the forward that would be the next of this one, which has made all of its own."""
        if self._store is None:
            return False
        self._own = False
        place = self.forwards + 1
        rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self._store.set(f"{self.name}/{place}/{rank}", DONE)
        return any(self._store.get(f"{self.name}/{place}/{one}").decode() == BEGINS for one in range(count))

    def __enter__(self) -> _Counted:
        self._handle = self.module.register_forward_pre_hook(self._one, prepend=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _one(self, module: nn.Module, args: Any) -> None:
        self.forwards += 1
        if self._store is not None and self._own:
            self._store.set(f"{self.name}/{self.forwards}/{torch.distributed.get_rank()}", BEGINS)


class ContractBroken(HeedfulError):
    """Error that stops a training run because the batch or model violates what the config or batch specifies.

    Attributes:
        report: What was found; None on a process whose own rows are sound, where another's are not.
    """

    exit_code = 1

    def __init__(self, report: ContractReport | None, message: Breaches | None = None) -> None:
        self.report = report
        where = "" if message is None else message.where
        sentence = message.sentence if message is not None else _sentence(report) if report is not None else ""
        super().__init__(f"contract{where}: {sentence}")


class ContractCallback(TrainerCallback):
    """Checks the first training batch and then one every N steps; a Trainer callback or a context manager.

    >>> trainer = Trainer(..., callbacks=[ContractCallback()])  # doctest: +SKIP

    >>> with ContractCallback(model, every=500) as watch:  # doctest: +SKIP
    ...     for batch in batches:
    ...         loss = model(**batch).loss

    The check is made inside the forward of the training step, on the very keyword arguments that the trainer passes:
    what a collator, a wrapper or the trainer's own ``use_cache=False`` makes of a batch is what is judged. Weights,
    gradients, flags and random state are as they would be without. Gradients are never taken, so that no reduction is
    begun. Over several processes (DDP, FSDP) each checks its own rows; then they agree: where one made fewer forwards
    than another (only its rows have no padding, say), it makes the difference up, since every forward of a sharded
    model is a meeting of all; a breach on any of them is message by rank 0 and stops all.

    The cost of a checked step is in its line: forwards and seconds beside the training step's own.

    Pitfall: over several processes every one needs the callback, since they wait for one another. Promises that the
    first batch does not exercise (nothing packed, nothing longer than the window) say nothing of later ones; ``every``
    looks again.

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
        costs: Forwards of each check, those that were made up included.

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
        self.costs: list[int] = []
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
        """Attach a hook to the model that the Trainer passes."""
        self._begin(more["model"])

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Remove the hook."""
        self._end()

    def _begin(self, model: nn.Module) -> None:
        self._end()
        while isinstance(model, WRAPPERS):
            model = model.module
        # First of all hooks: FSDP's own gathers the parameters for this forward, and is not to be met by the check's.
        self._handle = model.register_forward_pre_hook(self._meets, with_kwargs=True, prepend=True)

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
        made, report, why = _Counted(module, f"heedful/contract/{len(self.costs)}"), None, ""
        try:
            with made:
                report = check(module, dict(kwargs), contract=self.contract, gradients=False, capture=False)
        except HeedfulError as error:
            why = str(error)
        with made, repeatable(module) as again, torch.no_grad():
            while made.others_go_on():
                again()
                module(**kwargs)
        message = self._agreed(report)
        self.costs.append(made.forwards)
        if report is not None:
            self.reports.append(report)
            self.seconds.append(time.perf_counter() - begun)
        if message is not None:
            self._write_lines([f"contract: forward {self.forwards}: broken{message.where}", *message.lines])
            if self.on_breach == "stop":
                self._end()
                raise ContractBroken(report if report is not None and report.broken else None, message)
        elif report is not None and report.held:
            cost = f"{made.forwards} forwards, {self.seconds[-1]:.2g} s"
            self._write_lines([f"contract: forward {self.forwards}: {_counted(report)} ({cost})"])
        else:
            self._skip(why or "no promise of this batch can be judged")

    def _agreed(self, report: ContractReport | None) -> Breaches | None:
        """The first breach of any process."""
        own = None
        if report is not None and report.broken:
            own = Breaches("", str(report).splitlines(), _sentence(report))
        if not _together():
            return own
        every: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(every, own)
        first = next(((rank, one) for rank, one in enumerate(every) if one is not None), None)
        return None if first is None else replace(first[1], where=f" on rank {first[0]} of {len(every)}")

    def _skip(self, why: str) -> None:
        self._write_lines([f"contract: forward {self.forwards} was not checked: {why}"])

    def _write_lines(self, messages: list[str]) -> None:
        if _together() and torch.distributed.get_rank() != 0:
            return
        for line in messages:
            self._write(line)


def _together() -> bool:
    """Whether this is one of several processes."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _sentence(report: ContractReport) -> str:
    first = report.broken[0]
    remedy = first.remedy.text if first.remedy else "see the report"
    return f"{first.promise} is broken in {first.path or 'the whole model'}: {first.found} (remedy: {remedy})"


def _counted(report: ContractReport) -> str:
    held = sorted({one.promise for one in report.judgements if one.status == "held"})
    return f"{', '.join(held)} hold"


def _to_terminal(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
