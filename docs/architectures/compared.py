"""What heedful says of a forward, beside what the model's own weights say of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import heedful
from architectures.case import Batch, Case
from architectures.reference import Watched, Weights, statistics, watching

TOLERANCE = 2e-4
"""Largest difference of a statistic, relative to its size where that is above 1, that float32 explains."""

UNTOLD = (1e-33, 1e-25)
"""No weight may lie between what an additive mask of -100 leaves and what a key that is seen gets."""

SAME = 1e-2
"""Largest difference between the model and the same with eager attention, relative to its largest output."""

BY_LENGTH = {"row_std_seed"}
"""Statistics that change with the length of the tensor by their definition, padding included."""

CROSS = re.compile(
    r"cross|encoder_attn|encdec|enc_dec|multihead_attn|image_to_token|token_to_image|pool|probe|head\.attention"
)
"""Paths of modules whose queries and keys are different sequences."""

ATTENDS = re.compile(r"atten|attn", re.IGNORECASE)
"""Classes whose softmax is that of an attention."""

Heads = dict[str, Tensor]
"""Statistic to ``(sequence, head)`` values."""


@dataclass
class Said:
    """What is known of one attention in one forward.

    Attributes:
        values: Statistic to ``(sequence, head)``.
        rows: Real query rows that see a key, counted in each head.
        verified: Whether heedful vouches for it; True for the model's own weights.
        shown: Where the weights came from, or the way in.
    """

    values: Heads
    rows: int
    verified: bool = True
    shown: str = ""
    path: str = ""


@dataclass
class Forward:
    """One forward as heedful has it and as the model's weights have it, path to attention."""

    ours: dict[str, Said]
    theirs: dict[str, Said] = field(default_factory=dict)
    unmet: dict[str, str] = field(default_factory=dict)
    in_part: dict[str, str] = field(default_factory=dict)
    entered: dict[str, int] = field(default_factory=dict)
    same: bool = True
    lost: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


def base(path: str) -> str:
    """A path without the number of its call."""
    return path.split("#")[0]


def captured(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
    """The session and the output of one forward under capture, without gradient and from one seed."""
    torch.manual_seed(5)
    with torch.no_grad(), heedful.capture(model) as session:
        output = model(**batch.inputs)
    return session, output


def of_session(session: Any) -> dict[str, Said]:
    """Path to what ``heads()`` says."""
    if not session.records:
        return {}
    frame = session.heads()
    names = [name for name in frame.columns if name in statistics(torch.ones(1, 1, 1, 1), torch.ones(1, 1) > 0, 0)]
    said = {}
    for path, record in session.records.items():
        part = frame.filter(frame["module"] == path)
        values = {
            name: torch.tensor([[math.nan if v is None else v for v in part[name].to_list()]], dtype=torch.float64)
            for name in names
        }
        said[path] = Said(values, record.rows + record.short_rows, record.verified, record.way, path)
    return said


def forward(case: Case, model: nn.Module, shown: nn.Module, batch: Batch) -> Forward:
    """One forward of a model by heedful, and of the same model whose weights can be watched."""
    session, output = captured(model, batch)
    found = Forward(
        of_session(session), unmet=dict(session.not_captured), in_part=dict(getattr(session, "in_part", {}))
    )
    torch.manual_seed(5)
    with torch.no_grad(), watching(shown) as watched:
        other = _numbers(shown(**batch.inputs, **case.weights))
    found.entered = watched.entered
    found.same = _same(_numbers(output), other)
    heads = {base(path): said.values["row_entropy"].shape[1] for path, said in found.ours.items()}
    _reference(case, found, watched, heads, batch)
    return found


def _numbers(output: Any) -> list[Tensor]:
    """The first floating tensors of an output."""
    if isinstance(output, dict):
        output = tuple(value for name, value in output.items() if "attentions" not in name)
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, tuple | list):
        return [found for value in output for found in _numbers(value)]
    return []


def _same(plain: list[Tensor], other: list[Tensor]) -> bool:
    """Whether the first number that both put out is the same within rounding."""
    if not plain or not other or plain[0].shape != other[0].shape:
        return True
    gap = (plain[0] - other[0]).abs().nan_to_num().max()
    return bool(gap <= SAME * plain[0].abs().nan_to_num().max().clamp_min(1e-6))


def _reference(case: Case, found: Forward, watched: Watched, heads: Mapping[str, int], batch: Batch) -> None:
    calls: dict[str, int] = {}
    for path in found.ours:
        calls[base(path)] = calls.get(base(path), 0) + 1
    used: set[int] = set()
    for path, count in calls.items():
        if path not in heads:
            continue
        weights = matching(path, watched.weights, set(calls), count, heads[path])
        used |= {id(one) for one in weights}
        own = [one for one in watched.weights if one.shown != "returned" and one.paths[:1] == [path]]
        made = max(len(own), len(weights))
        if count == 1 and made > 1:
            # One record of several calls: the mean over the sequences of all of them.
            parts = [_said(case, one, path, heads[path], batch) for one in (own if len(own) == made else weights)]
            if None not in parts and len({len(part.values["row_entropy"][0]) for part in parts if part}) == 1:
                found.theirs[path] = together([part for part in parts if part])
                continue
        if made > count or (weights and count % len(weights)):
            found.lost.append(f"{path}: {count} calls met, {made} made")
            continue
        # A module may call its kernel several times for one pattern, with other values each time.
        for number, one in enumerate([one for one in weights for _ in range(count // len(weights))], 1):
            name = path if number == 1 else f"{path}#{number}"
            said = _said(case, one, name, heads[path], batch)
            if said is not None:
                found.theirs[name] = said
    known = {*calls, *found.unmet}
    for one in watched.weights:
        message = one.shown == "returned" or any(ATTENDS.search(name) for name in one.classes[:2])
        if message and id(one) not in used and one.paths and not _covered(one.paths, known):
            found.unlisted.append(one.paths[0])


def _covered(paths: list[str], known: set[str]) -> bool:
    return any(path in known for path in paths if path) or any(path.startswith(f"{paths[0]}.") for path in known)


def matching(path: str, weights: list[Weights], all_paths: set[str], count: int, heads: int) -> list[Weights]:
    """The weights of one module: those it returned, else those of its own softmax or of its kernel, one a call."""
    weights = [one for one in weights if one.values.dim() == 3 or one.values.shape[1] in {heads, one.heads or heads}]
    found = [_shown_by(path, weights, all_paths, shown) for shown in ("returned", "softmax", "kernel")]
    most = max(len(one) for one in found)
    fitting = [one for one in found if len(one) == count]
    # Fewer than were made are returned where a module returns those of one of its calls alone.
    return next(iter(fitting), next((one for one in found if one and len(one) == most), []))


def _shown_by(path: str, weights: list[Weights], all_paths: set[str], shown: str) -> list[Weights]:
    here = [one for one in weights if one.shown == shown and one.paths]
    exact = [one for one in here if one.paths[0] == path]
    if exact:
        return exact
    inner = [one for one in here if path in one.paths and not _held(one.paths, path, all_paths)]
    if inner:
        return inner
    outer = [one for one in here if path.startswith(f"{one.paths[0]}.") and one.paths[0] not in all_paths]
    if outer and sum(other.startswith(f"{outer[0].paths[0]}.") for other in all_paths) == 1:
        return outer
    return []


def _held(paths: list[str], path: str, all_paths: set[str]) -> bool:
    return any(inner in all_paths for inner in paths[: paths.index(path)])


def _said(case: Case, one: Weights, path: str, heads: int, batch: Batch) -> Said | None:
    values = one.values
    if values.dim() == 3:
        values = values.unflatten(0, (-1, heads)) if values.shape[0] % heads == 0 else values[:, None]
    if values.dim() != 4:
        return None
    real = batch.rows(values.shape[0], values.shape[2])
    start = start_of(case, base(path), values.shape[2], values.shape[3])
    seen = ((values > 0).any(-1) & real[:, None]).sum()
    if bool(((values > UNTOLD[0]) & (values < UNTOLD[1])).any()):
        raise ValueError(f"{path}: weights so small that hidden keys cannot be told from seen ones: make them larger")
    return Said(statistics(values, real, start), int(seen), True, one.shown, path)


def start_of(case: Case, path: str, queries: int, keys: int) -> int | None:
    """Key position of the first query of a module, as the architecture has it."""
    if case.positions is not None:
        return case.positions(path, queries, keys)
    if CROSS.search(".".join(path.lower().split(".")[-2:])):
        return None
    return 0 if queries == keys else None


def together(parts: list[Said]) -> Said:
    """Several forwards of one module as ``heads()`` has them: the mean over their sequences."""
    values = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
    return Said(values, sum(part.rows for part in parts), all(part.verified for part in parts), parts[0].shown)


def differences(one: Said, other: Said, left_out: set[str] | None = None) -> list[str]:
    """Statistics whose means over sequences differ, with both numbers of the worst head; and differing rows."""
    wrong = [] if one.rows == other.rows else [f"rows {one.rows} and {other.rows}"]
    for name, values in one.values.items():
        if name in (left_out or ()):
            continue
        mine, its = values.double().nanmean(0), other.values[name].double().nanmean(0)
        if mine.shape != its.shape:
            wrong.append(f"{len(mine)} and {len(its)} heads")
            break
        both = mine.isnan() & its.isnan()
        gap = ((mine - its).abs() / its.abs().clamp_min(1)).masked_fill(both, 0).nan_to_num(math.inf)
        if float(gap.max()) > TOLERANCE:
            head = int(gap.argmax())
            wrong.append(f"{name} {float(mine[head]):.4g} and {float(its[head]):.4g}")
    return wrong
