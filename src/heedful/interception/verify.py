"""Prove a capture: recompute each module's output, and check that replacing it changes the model's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heedful.errors import HeedfulError, UsageError
from heedful.interception.adapter import Adapter, reading_with
from heedful.interception.call_record import CallRecord
from heedful.interception.intercept import refuse_no_module
from heedful.interception.replace import replace
from heedful.interception.session import capture
from heedful.interception.uncompiled import internal_forward, uncompiled

Run = Callable[[], Any]
Inputs = Mapping[str, Any] | tuple[Any, ...] | Tensor | np.ndarray | Run

CACHES = ("past_key_values", "cache", "cache_params", "state", "mems")
"""Fields of a model's output that hold no result."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Proof of capture for one attention module.

    Attributes:
        path: Module path.
        way: How its calls were met; empty where they were not.
        heads: Number of query heads; 0 where not met.
        error: Largest relative difference between the module's output and the recomputed one; NaN where not known.
        recomputed: Whether rounding explains that difference.
        moved: Largest relative change of the model's output when the module's attention puts out nothing; NaN where it
            could not be replaced.
        replaced: Whether that is more than rounding makes.
        reason: Why either is not so; empty where both are.
        note: What being watched changes about the module; empty where nothing.
    """

    path: str
    way: str = ""
    heads: int = 0
    error: float = math.nan
    recomputed: bool = False
    moved: float = math.nan
    replaced: bool = False
    reason: str = ""
    note: str = ""


def verify(model: nn.Module, inputs: Inputs, *, adapter: Adapter | None = None) -> list[Proof]:
    """Prove the capture of every attention module: recompute its output, then set it to zero and see the model's output
    change.

    The model runs once to be measured, once as it is, and once for each module, in evaluation mode and without
    gradient; flags and random state are as before afterwards.

    Args:
        model: Any module.
        inputs: Keyword arguments, positional ones or the one tensor or numpy array that it takes; or a function that
            runs it once.
        adapter: Reads attention from what modules return (``heedful.interception.adapter``).

    Returns:
        One proof a module, met ones first, in the order in which the model calls them.

    Raises:
        UsageError: The model is no module, or the inputs are none of these.

    Example:
        >>> import heedful, torch
        >>> proofs = heedful.verify(heedful.load_model().model, torch.arange(5, 13)[None])
        >>> all(proof.recomputed and proof.replaced for proof in proofs)
        True
    """
    refuse_no_module("verify", model)
    run = _runner(model, inputs)
    with reading_with(adapter), _repeatable(model) as again:
        again()
        plain = _tensors(run())
        again()
        with capture(model) as session:
            run()
        by_path: dict[str, list[CallRecord]] = {}
        for record in session.records.values():
            by_path.setdefault(record.path.split("#")[0], []).append(record)
        proofs = []
        for path, records in by_path.items():
            again()
            found = _proof(model, run, path, records, plain, session.not_captured.get(path, ""))
            proofs.append(changed(found, note=session.notes.get(found.way, "")))
    not_captured = [
        Proof(path=path, reason=reason) for path, reason in session.not_captured.items() if path not in by_path
    ]
    return proofs + not_captured


def _proof(model: nn.Module, run: Run, path: str, records: list[CallRecord], plain: list[Tensor], reason: str) -> Proof:
    error, moved = max((record.error for record in records), key=_nan_last), math.nan
    recomputed = all(record.verified for record in records) and not reason
    if not recomputed and not reason:
        reason = "no values were seen" if math.isnan(error) else f"recomputed output differs by {error:.1e}"
    try:
        with replace(model, "zero", layers=[path]):
            moved = _change(plain, _tensors(run()))
    except HeedfulError as refused:
        moved, reason = math.nan, reason or str(refused)
    limit = 16 * max((torch.finfo(tensor.dtype).eps for tensor in plain), default=0.0)
    replaced = moved > limit
    if not replaced and not reason:
        reason = "the model's output does not change without it"
    return Proof(
        path=path,
        way=records[0].way,
        heads=records[0].heads,
        error=error,
        recomputed=recomputed,
        moved=moved,
        replaced=replaced,
        reason=reason,
    )


def _nan_last(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _runner(model: nn.Module, inputs: Inputs) -> Run:
    if isinstance(inputs, Mapping):
        return lambda: model(**inputs)
    if isinstance(inputs, tuple):
        return lambda: model(*inputs)
    if isinstance(inputs, Tensor | np.ndarray):
        return lambda: model(torch.as_tensor(inputs))
    if not callable(inputs):
        message = "expected a tensor, a tuple or a mapping of arguments, or a function that runs the model"
        raise UsageError(f"verify: inputs: {message}; got {type(inputs).__name__}")
    return inputs


@contextmanager
def _repeatable(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Evaluation mode without gradient; what is yielded sets random numbers back to where they stood."""
    flags = [(module, module.training) for module in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.no_grad(), uncompiled(), internal_forward():
        start = torch.get_rng_state()
        starts = [torch.cuda.get_rng_state(device) for device in devices]

        def again() -> None:
            torch.set_rng_state(start)
            for device, state in zip(devices, starts, strict=True):
                torch.cuda.set_rng_state(state, device)

        try:
            model.eval()
            yield again
        finally:
            for module, training in flags:
                module.training = training


def _tensors(output: Any) -> list[Tensor]:
    """Floating tensors of a model's output, caches left out."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [found for name, value in output.items() if name not in CACHES for found in _tensors(value)]
    if isinstance(output, tuple | list):
        return [found for value in output for found in _tensors(value)]
    return []


def _change(plain: list[Tensor], changed: list[Tensor]) -> float:
    """Largest difference of corresponding tensors, each relative to its largest entry; infinite where forms differ."""
    if len(plain) != len(changed) or any(a.shape != b.shape for a, b in zip(plain, changed, strict=True)):
        return math.inf
    worst = 0.0
    for one, other in zip(plain, changed, strict=True):
        if one.numel():
            size = one.abs().nan_to_num(0, 0, 0).max().clamp_min(torch.finfo(one.dtype).tiny)
            worst = max(worst, float(((one - other).abs().nan_to_num(0) / size).max()))
    return worst
