"""Is what was captured of a layout the layout's own?"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from tests.interception.layouts.layout import CROSS, EITHER, LISTED, MET, SELF, SILENT, Case, Layout, Truth
from tests.interception.state import HOOKS, snapshot
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack, _pop_mode

import heedful
from heedful.errors import HeedfulError

LEAST_KEYS = 8
POSITIONAL = ("self_mass", "previous_mass", "local_mass")


@dataclass
class Group:
    """The rows of one module call, as ``session.heads()`` lists them."""

    path: str
    verified: bool
    rows: list[dict[str, Any]]


@dataclass
class Seen:
    """What one captured run showed."""

    result: Any = None
    error: BaseException | None = None
    groups: list[Group] = field(default_factory=list)
    not_captured: dict[str, str] = field(default_factory=dict)


def statistics_of(truth: Truth) -> dict[str, Tensor]:
    """Mean over judged rows of each sequence, then over sequences, ``(head,)`` each; NaN where undefined."""
    weights, seen = truth.weights.double(), truth.visible()
    count = seen.sum(-1)
    entropy = -torch.special.xlogy(weights, weights).sum(-1)
    alone = weights / weights.sum(-1, keepdim=True)  # without what a sink takes
    spread = -torch.special.xlogy(alone, alone).sum(-1)
    own = torch.arange(weights.shape[2])[:, None] + truth.offset
    away = own - torch.arange(weights.shape[3])
    first = seen.any(2).any(1).long().argmax(1)
    previous = (away == 1) & seen
    rows = {
        "row_entropy": entropy,
        "max_weight": weights.amax(-1),
        "concentration": (count.double().log() - spread).clamp_min(0),
        "sink_mass": weights.gather(-1, first[:, None, None, None].expand(*weights.shape[:3], 1))[..., 0],
        "self_mass": (weights * (away == 0)).sum(-1),
        "previous_mass": (weights * (away == 1)).sum(-1).masked_fill(~previous.any(-1), torch.nan),
        "local_mass": (weights * (away.abs() <= 5)).sum(-1),
    }
    judged = count >= LEAST_KEYS
    return {name: value.masked_fill(~judged, torch.nan).nanmean(-1).nanmean(0) for name, value in rows.items()}


def mismatch(group: Group, truth: Truth, tolerance: float) -> str:
    """Why a group is not this truth; empty where it is."""
    path = group.path.split("#")[0]
    if truth.path is not None and path != truth.path:
        return f"met at {path!r}, not at {truth.path!r}"
    if len(group.rows) != truth.heads:
        return f"{len(group.rows)} heads, not {truth.heads}"
    sequences = len(truth.weights) if truth.sequences is None else truth.sequences
    if group.rows[0]["sequences"] != sequences:
        return f"{group.rows[0]['sequences']} sequences, not {sequences}"
    for name, right in statistics_of(truth).items():
        found = [row[name] for row in group.rows]
        if name in POSITIONAL:
            if truth.positions == CROSS and any(value is not None for value in found):
                return f"{name} {_told(found)} in cross-attention"
            if truth.positions != SELF or all(value is None for value in found):
                continue
        got = torch.tensor([torch.nan if value is None else value for value in found], dtype=torch.float64)
        if not torch.allclose(got, right, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"{name} {_told(found)}, not {_told(right.tolist())}"
    return ""


def _told(values: list[Any]) -> str:
    return "[" + " ".join("-" if value is None else f"{value:.4f}" for value in values[:6]) + "]"


def judge(layout: Layout, notes: list[str] | None = None) -> list[str]:
    """Everything that is wrong of one layout; empty where nothing is.

    Args:
        layout: The layout.
        notes: Filled with what was verified and what was told.
    """
    case = layout.make()
    with nullcontext() if case.gradient else torch.no_grad():
        torch.manual_seed(0)
        plain, refused = _ran(case)
        before = state_of(case.module)
        torch.manual_seed(0)
        seen = captured(case)
        problems = _same_run(case, plain, refused, seen)
        if notes is not None:
            notes += [f"verified {sum(g.verified for g in seen.groups)} of {len(seen.groups)}"]
            notes += [f"{path!r}: {reason}" for path, reason in seen.not_captured.items()]
        after = state_of(case.module)
        if after != before:
            problems.append(f"changed: {[name for name in before if before[name] != after[name]]}")
        if refused is not None:
            return problems
        tries = [_judged(layout.outcome, case, seen, truths, plain) for truths in (case.truths, *case.others)]
        return problems + min(tries, key=len)


def state_of(module: nn.Module) -> dict[str, Any]:
    """Everything that a capture must leave as it was; without bytes, the hooks alone."""
    if any(parameter.is_meta for parameter in module.parameters()):
        return {path: {name: dict(getattr(m, name)) for name in HOOKS} for path, m in module.named_modules()}
    return snapshot(module)


def leftover_modes() -> int:
    """Function modes that were left behind, taken off so that what runs next is not seen by them."""
    torch._C._set_tracing_state(None)  # torch itself leaves it behind where a trace fails
    left = len(_get_current_function_mode_stack())
    for _ in range(left):
        _pop_mode()
    return left


def _ran(case: Case) -> tuple[Any, BaseException | None]:
    try:
        return case.runs(), None
    except Exception as error:
        if not case.raises:
            raise
        return None, error


def captured(case: Case) -> Seen:
    """One run inside a capture."""
    seen = Seen()
    with heedful.capture(case.module) as session:
        try:
            seen.result = case.runs()
        except Exception as error:
            seen.error = error
    seen.not_captured = dict(session.not_captured)
    if session.records and seen.error is None:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in session.heads().iter_rows(named=True):
            groups.setdefault(row["module"], []).append(row)
        seen.groups = [Group(path, all(row["verified"] for row in rows), rows) for path, rows in groups.items()]
    return seen


def _same_run(case: Case, plain: Any, refused: BaseException | None, seen: Seen) -> list[str]:
    """Whether the user's forward gave what it gives without a capture."""
    if (refused is None) != (seen.error is None) or type(refused) is not type(seen.error):
        return [f"raised inside the forward: {type(seen.error).__name__}: {seen.error}"]
    if refused is not None:
        same = str(refused) == str(seen.error)
        return [] if same else [f"another message: {seen.error} in place of {refused}"]
    one, two = tensors(plain), tensors(seen.result)
    if len(one) != len(two) or any(a.shape != b.shape or a.dtype != b.dtype for a, b in zip(one, two, strict=True)):
        return ["the output has another form"]
    limit = max(case.tolerance, 1e-5)
    if not all(torch.allclose(a, b, rtol=limit, atol=limit, equal_nan=True) for a, b in zip(one, two, strict=True)):
        return ["the output has other values"]
    return []


def tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output.detach()]
    if isinstance(output, dict):
        return [found for value in output.values() for found in tensors(value)]
    if isinstance(output, tuple | list):
        return [found for value in output for found in tensors(value)]
    return []


def _judged(outcome: str, case: Case, seen: Seen, truths: list[Truth], plain: Any) -> list[str]:
    problems: list[str] = []
    if outcome in (LISTED, SILENT):
        problems += [f"verified, and it is no attention over tokens: {g.path!r}" for g in seen.groups if g.verified]
        if outcome == LISTED and not seen.groups and not seen.not_captured:
            problems.append("neither met nor listed")
        return problems
    left, matched = list(range(len(truths))), []
    for group in (g for g in seen.groups if g.verified):
        reasons = {index: mismatch(group, truths[index], case.tolerance) for index in left}
        found = next((index for index in left if not reasons[index]), None)
        if found is None:
            message = min(
                reasons.values(), key=lambda why: (why.startswith("met at"), len(why)), default="one too many"
            )
            problems.append(f"verified and wrong: {group.path!r}: {message}")
        else:
            left.remove(found)
            matched.append((group, truths[found]))
    for index in left if not problems else ():
        message = _listed(seen, truths[index])
        if message is None:
            problems.append(f"neither met nor listed: {truths[index].path or index}")
        elif outcome == MET:
            problems.append(f"not met: {message}")
    for group, truth in matched:
        problems += replaced(case, group, truth, plain, must=outcome == MET)
    return problems + (_proved(case, [group.path for group, _ in matched], outcome) if case.proved else [])


def _listed(seen: Seen, truth: Truth) -> str | None:
    """What is told of a truth that was not met; None where nothing is."""
    wanted = truth.related or ((truth.path,) if truth.path is not None else None)
    messages = dict(seen.not_captured) | {g.path: "not verified" for g in seen.groups if not g.verified}
    for path, reason in messages.items():
        bare = path.split("#")[0]
        if wanted is None or any(_related(bare, name) for name in wanted):
            return f"{path!r}: {reason}"
    return None


def _related(one: str, other: str) -> bool:
    return one == other or not one or not other or one.startswith(other + ".") or other.startswith(one + ".")


def replaced(case: Case, group: Group, truth: Truth, plain: Any, must: bool) -> list[str]:
    """Does replacing one head by nothing take away that head's columns and nothing else?"""
    before = truth.heads_of(plain)
    if before is None or not truth.replaceable:
        return []
    path, problems = group.path.split("#")[0], []
    for head in sorted({0, truth.heads // 2, truth.heads - 1}):
        torch.manual_seed(0)
        try:
            with heedful.replace(case.module, "zero", layers=[path], heads=[head]):
                after = truth.heads_of(case.runs())
        except HeedfulError as error:
            if must:
                problems.append(f"replace refused: {error}")
            continue
        expected = before.clone()
        expected[:, head] = 0
        if after is None or not torch.allclose(
            after, expected, rtol=1e-3, atol=max(1e-4, case.tolerance), equal_nan=True
        ):
            problems.append(f"replace: head {head} of {path!r}: other columns went to zero")
    return problems


def _proved(case: Case, paths: list[str], outcome: str) -> list[str]:
    problems = []
    torch.manual_seed(0)
    proofs = heedful.verify(case.module, case.runs)
    for proof in proofs:
        if outcome == MET and proof.path in paths and not (proof.recomputed and proof.replaced):
            problems.append(f"verify: {proof.path!r}: {proof.reason}")
    if outcome == EITHER:
        return []
    known = {proof.path for proof in proofs}
    return problems + [f"verify: {p!r} is missing" for p in paths if p.split("#")[0] not in known]


def truth_error(case: Case) -> float:
    """Largest difference between the heads' outputs by the truth and by the module, where rows are real."""
    with nullcontext() if case.gradient else torch.no_grad():
        torch.manual_seed(0)
        plain = case.runs()
    worst = 0.0
    for truth in [truth for truths in (case.truths, *case.others) for truth in truths]:
        given = truth.heads_of(plain)
        if given is None or truth.value is None:
            continue
        ours = (truth.weights @ truth.value.double()).detach()
        rows = truth.visible().any(-1)
        assert ours.shape == given.shape, f"{tuple(ours.shape)} is not {tuple(given.shape)}"
        worst = max(worst, float((ours - given.detach().double())[rows].abs().max()))
        total = truth.weights.sum(-1)[truth.visible().any(-1)]
        assert truth.partial or torch.allclose(total, torch.ones_like(total), atol=1e-5), "rows do not sum to 1"
    return worst


__all__ = ["CROSS", "LISTED", "SILENT", "captured", "judge", "statistics_of", "truth_error"]
