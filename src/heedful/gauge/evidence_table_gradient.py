"""Find which belief tables get a gradient through attention weights, and which only by other paths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.evaluation.batches import batch_of
from heedful.evaluation.running import device_of
from heedful.evaluation.study import Study
from heedful.gauge.evidence_beliefs import belief_tables
from heedful.gauge.frames import bounded
from heedful.gauge.frames import frames as rotations
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept

PIECES, SEQUENCES = 8, 32
"""Backwards, and the sequences that they share."""

_Gradients = Mapping[str, Tensor]


@dataclass(frozen=True)
class TableGradient:
    """Gradient of the loss with respect to one table, averaged over pieces of the text.

    Attributes:
        name: Name of the parameter in the model.
        norm: Euclidean norm of the gradient of the mean loss; NaN where frozen.
        through: The norm of what goes once the weights of attention are constants, over ``norm``: 0 where the table
            moves no weight. It may exceed 1, since the two parts may point against one another. NaN where ``norm`` is
            0.
        range: Least and largest ``through`` of the pieces.
        frozen: Whether it is not trained.
        own: Of a table of tokens' frames, how much of what comes through the weights is not the gradient of the tokens'
            means in other coordinates, as a share of its norm; NaN for other tables. 0 where a frame is a mere change
            of coordinates: without means of positions and without what acts on means in their own frames.
    """

    name: str
    norm: float
    through: float
    range: tuple[float, float]
    frozen: bool
    own: float


def table_gradients(study: Study) -> list[TableGradient]:
    """Return the gradient of the loss with respect to each belief table and each layer's temperatures; an empty list
    if the model has no belief tables.

    Args:
        study: The study; ``torch.autograd.grad`` is used, so that no ``.grad`` of its model changes.
    """
    tables = belief_tables(study.model)
    if tables is None:
        return []
    inside = {id(parameter) for parameter in tables.parameters()}
    wanted = {
        name: parameter
        for name, parameter in study.model.named_parameters()
        if id(parameter) in inside or name.endswith("log_kappa")
    }
    live = {name: parameter for name, parameter in wanted.items() if parameter.requires_grad}
    names = {id(parameter): name for name, parameter in live.items()}
    count = min(SEQUENCES, len(study.sequences.input_ids))
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in live}
    for index in torch.arange(count).chunk(PIECES) if live else ():
        whole, past = _both(study, index, live)
        through = {name: whole[name] - past[name] for name in live}
        own = _not_of_means(tables, names, through)
        for name in live:
            norms = float(whole[name].norm()), float(through[name].norm())
            found[name].append((*norms, own.get(name, math.nan)))
    return [_described(name, found.get(name)) for name in wanted]


def _both(study: Study, index: Tensor, live: Mapping[str, nn.Parameter]) -> tuple[_Gradients, _Gradients]:
    """Gradients of some sequences' mean loss, as they are and with the weights of attention constant."""
    batch = batch_of(study.sequences, index, device_of(study.model))
    constant = [False]

    def stopped(gradient: Tensor) -> Tensor | None:
        return torch.zeros_like(gradient) if constant[0] else None

    def stop_gradients(event: AttentionEvent) -> None:
        for side in (event.call.query, event.call.key):
            if side.requires_grad:
                side.register_hook(stopped)  # the kernel's own inputs: what passes here passed through weights

    with torch.enable_grad():
        with intercept(study.model, stop_gradients):
            loss = study.objective.losses(study.model, batch).nanmean()
        whole = _gradients(loss, live, keep=True)
        constant[0] = True
        return whole, _gradients(loss, live, keep=False)


def _gradients(loss: Tensor, live: Mapping[str, nn.Parameter], keep: bool) -> _Gradients:
    given: Any = [None] * len(live)
    if loss.requires_grad:
        given = torch.autograd.grad(loss, list(live.values()), allow_unused=True, retain_graph=keep)
    pairs = zip(live.items(), given, strict=True)
    return {name: torch.zeros_like(p).double() if one is None else one.double() for (name, p), one in pairs}


def _not_of_means(tables: Any, names: Mapping[int, str], through: _Gradients) -> dict[str, float]:
    r"""Of the gradient of tokens' frames, the share that the gradient of their means does not hold already.

    Weights know a token by :math:`R^{-1} \mu` alone, so that a turn of its frame is the change
    :math:`\delta\mu = R_0 R^{-1} \mu` of its mean, and
    :math:`\nabla_\phi = \partial_\phi \langle \nabla_\mu, R_0 R(\phi)^{-1} \mu \rangle`.
    """
    if tables.frame is None or not {id(tables.frame.weight), id(tables.mean.weight)} <= names.keys():
        return {}
    name = names[id(tables.frame.weight)]
    used = through[name].any(-1)
    pull, mean = through[names[id(tables.mean.weight)]][used], tables.mean.weight.detach()[used].double()
    phi = tables.frame.weight.detach()[used].double().requires_grad_()
    if not bool(used.any()):
        return {}
    begin, total = 0, phi.new_zeros(())
    with torch.enable_grad():
        for number, order in tables.layout.irreps.groups:
            wide = number * (2 * order + 1)
            here = [side[:, begin : begin + wide].unflatten(1, (number, -1)) for side in (pull, mean)]
            begin += wide
            if order:
                frame = rotations(bounded(phi), order)
                turned = torch.einsum("tij,tkj,tck->tci", frame.detach(), frame, here[1])
                total = total + (here[0] * turned).sum()
        (implied,) = torch.autograd.grad(total, phi)
    found = through[name][used]
    return {name: float((found - implied).norm() / found.norm())}


def _described(name: str, norms: list[tuple[float, float, float]] | None) -> TableGradient:
    nan = math.nan
    if norms is None:
        return TableGradient(name, nan, nan, (nan, nan), True, nan)
    shares = [through / whole for whole, through, _ in norms if whole > 0]
    mean = sum(whole for whole, _, _ in norms) / len(norms)
    if not shares:
        return TableGradient(name, mean, nan, (nan, nan), False, nan)
    own = sum(one for _, _, one in norms) / len(norms)
    return TableGradient(name, mean, sum(shares) / len(shares), (min(shares), max(shares)), False, own)
