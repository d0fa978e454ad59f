"""Run forwards from a middle layer on cached hidden states, so that lower layers need not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heedful.distributed.sharded import is_tensor_parallel
from heedful.evaluation.ablation import ablated_losses, losses_of
from heedful.evaluation.objective import Objective
from heedful.evaluation.running import run_model
from heedful.loading.batch import Batch

ROUNDING = 64
"""Units in the last place, of a loss of 1 or more, by which both ways may differ."""


@dataclass
class Continuation:
    """The layers of a model in order, with the input of each layer cached from the last full forward.

    Attributes:
        model: The model, in evaluation mode; inside ``beginning_at`` some of its layers hand on what they are given.
        objective: The loss, whose question the layers have read.
        layers: Elements of one ``ModuleList`` in their order.
        places: Path of an attention module to the layer that it is part of.
        entered: What entered each layer.
    """

    model: nn.Module
    objective: Objective
    layers: Sequence[nn.Module]
    places: dict[str, int]
    entered: list[Tensor] = field(default_factory=list)
    _forms: list[Callable[[Tensor], Any] | None] = field(default_factory=list)

    def keep(self, batch: Batch) -> bool:
        """Run the unchanged model, cache the input of each layer, and return whether forwards can start from there."""
        entered: list[Tensor] = []
        forms: list[Callable[[Tensor], Any] | None] = []

        def after(module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            first = args[0] if args else keywords.get("hidden_states")
            if isinstance(first, Tensor):
                entered.append(first)
                forms.append(_form_of(output))

        handles = [layer.register_forward_hook(after, with_kwargs=True) for layer in self.layers]
        try:
            with torch.no_grad():
                ids = self.objective.question(batch)[0]
                if self.objective.layer is None:
                    run_model(self.model, ids, batch.attention_mask)
                else:
                    self.objective.layer.hidden_of(self.model, ids, batch.attention_mask)
        finally:
            for handle in handles:
                handle.remove()
        self.entered, self._forms = entered, forms
        return len(entered) == len(self.layers) and all(form is not None for form in forms)

    def forget(self) -> None:
        """Drop the cached layer inputs."""
        self.entered, self._forms = [], []

    @contextmanager
    def beginning_at(self, path: str) -> Iterator[None]:
        """Return a context in which forwards of the cached batch start at the layer that contains the attention module
        at ``path``.
        """
        start = self.places[path]
        skipped = list(zip(self.layers[:start], self._forms, self.entered[1 : start + 1], strict=False))
        try:
            for layer, form, leaving in skipped:
                layer.forward = _handing_on(form, leaving)  # type: ignore[method-assign]
            yield
        finally:
            for layer, _, _ in skipped:
                layer.__dict__.pop("forward", None)


def _handing_on(form: Callable[[Tensor], Any] | None, leaving: Tensor) -> Callable[..., Any]:
    return lambda *args, **keywords: None if form is None else form(leaving)


def _form_of(output: Any) -> Callable[[Tensor], Any] | None:
    """How a layer gives its hidden states; None where it gives more than them."""
    if isinstance(output, Tensor):
        return lambda hidden: hidden
    if (
        type(output) is tuple
        and output
        and isinstance(output[0], Tensor)
        and not any(x is not None for x in output[1:])
    ):
        rest = output[1:]
        return lambda hidden: (hidden, *rest)
    return None


def continuation(
    model: nn.Module, objective: Objective, batch: Batch, paths: Sequence[str], base: Sequence[float]
) -> Continuation | None:
    """Return a ``Continuation`` of a model if starting at a layer reproduces the full forward's losses, else None.

    Shown on two sequences: with the learned attention from the second, the middle and the last layer on, against the
    losses that are known; and with equal weights in the middle layer, against a whole forward.

    Args:
        model: The model, in evaluation mode.
        objective: Its loss.
        batch: Its first two sequences are tried.
        paths: Paths of the attention modules, in the order of their calls.
        base: Losses of these two with the learned attention.

    Returns:
        None where the layers are no elements of one list, give more than hidden states, pass something beside them, or
        the losses differ.
    """
    if is_tensor_parallel(model) or hasattr(model, "hf_device_map"):
        return None
    found = _layers_of(model, paths)
    if found is None:
        return None
    layers, places = found
    made = Continuation(model, objective, layers, places)
    two = batch.rows(slice(0, 2))
    try:
        if len(two.index) < 2 or not made.keep(two):
            return None
        below = [path for path in paths if places[path] > 0]
        middle = below[len(below) // 2]
        for path in dict.fromkeys((below[0], middle, below[-1])):
            with made.beginning_at(path):
                if not _same(losses_of(model, objective, [two]), np.asarray(base)):
                    return None
        whole = ablated_losses(model, objective, [two], "uniform", layers=[middle])
        with made.beginning_at(middle):
            same = _same(ablated_losses(model, objective, [two], "uniform", layers=[middle]), whole)
    except Exception:  # a model of the user's that cannot be cut fails in a way of its own
        return None
    return made if same else None


def _layers_of(model: nn.Module, paths: Sequence[str]) -> tuple[list[nn.Module], dict[str, int]] | None:
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    for root, modules in lists.items():
        lead = f"{root}." if root else ""
        parts = [path.removeprefix(lead).split(".")[0] for path in paths if path.startswith(lead)]
        if len(parts) == len(paths) and len(set(parts)) == len(parts) and all(part.isdigit() for part in parts):
            places = dict(zip(paths, map(int, parts), strict=True))
            own = any("forward" in layer.__dict__ or layer._forward_hooks for layer in modules)
            return None if own or len(modules) < 2 else (list(modules), places)
    return None


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    room = ROUNDING * float(np.finfo(np.float32).eps) * np.maximum(1.0, np.abs(other))
    return bool((np.abs(one - other) <= room).all())
