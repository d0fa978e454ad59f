"""What is proved of one architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from architectures.case import Batch, Case
from architectures.compared import BY_LENGTH, Forward, Said, base, differences, forward, together
from architectures.replaced import entering, only_first_head
from heedful.interception.verify import Proof, verify


@dataclass
class Found:
    """Everything that the page says of one architecture.

    Attributes:
        name: The architecture.
        met: Paths of modules that were met.
        attending: Paths of modules that attend: met, listed as not met, or showing weights.
        measured: Query positions measured over all met modules.
        entered: Query positions that entered modules that attend.
        equal: Path to differences from the model's own weights; paths without reference are left out.
        padded: Path to differences between padded and alone, over all sides.
        sides: Paddings that were tried.
        moved: Paths whose removal moves the model's output.
        first_head: Path to whether replacing head 0 touches it alone; None where it cannot be told.
        shown: Where the weights came from.
        wrong: Paths whose numbers are wrong though heedful vouches for them.
        ways: Ways in.
        remarks: Sentences.
        doubted: Paths that heedful calls unverified.
        skipped: The package that is missing.
        error: Why there is nothing to say.
    """

    name: str
    met: list[str] = field(default_factory=list)
    attending: list[str] = field(default_factory=list)
    measured: int = 0
    entered: int = 0
    equal: dict[str, list[str]] = field(default_factory=dict)
    padded: dict[str, list[str]] = field(default_factory=dict)
    sides: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    first_head: dict[str, bool | None] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    doubted: list[str] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    skipped: str = ""
    error: str = ""

    @property
    def all_met(self) -> bool:
        """Whether every module that attends was met."""
        return bool(self.met) and len(self.met) == len(self.attending)

    @property
    def all_replaced(self) -> bool:
        """Whether every module can be removed, and in none of them head 0 drags others along."""
        return all(path in self.moved and self.first_head.get(path) is not False for path in self.met)


def prove(case: Case) -> Found:
    """Everything that is known of one architecture."""
    found = Found(case.name)
    model = case.build(False)
    shown = case.build(True)
    shown.load_state_dict(model.state_dict(), strict=False)
    shown.eval()
    runs = case.runs(model)
    alone = [forward(case, model, shown, batch) for batch in runs.alone]
    padded = {side: forward(case, model, shown, batch) for side, batch in runs.padded.items()}
    _count(found, alone)
    _equal(found, alone)
    found.sides = list(padded)
    for side, one in padded.items():
        _padded(found, alone, side, one)
    proofs = _replaced(found, case, model, runs.alone[0])
    _silent(found, [*alone, *padded.values()], case.ignores)
    _remarks(found, alone, proofs)
    return found


def _count(found: Found, alone: list[Forward]) -> None:
    ours = dict.fromkeys(base(path) for one in alone for path in one.ours)
    unmet = {path: why for one in alone for path, why in one.unmet.items()}
    unlisted = dict.fromkeys(path for one in alone for path in one.unlisted)
    found.met = [path for path in ours if path not in unmet]
    found.attending = list(dict.fromkeys([*ours, *unmet, *unlisted]))
    found.ways = list(dict.fromkeys(said.shown for one in alone for said in one.ours.values()))
    found.shown = sorted({said.shown for one in alone for said in one.theirs.values()})
    for one in alone:
        partly = {message.split(":")[0] for message in one.lost}
        for path in dict.fromkeys(map(base, one.ours)):
            calls = _calls(one.ours, path)
            rows = sum(said.rows // said.values["row_entropy"].shape[1] for said in calls)
            made = one.entered.get(path, rows) if path in partly else rows
            its = _calls(one.theirs, path)
            if its and path not in partly:
                made = sum(said.rows // said.values["row_entropy"].shape[1] for said in its)
            found.measured += min(rows, made)
            found.entered += made
        for path in dict.fromkeys([*one.unmet, *one.unlisted]):
            if path not in one.ours:
                found.entered += one.entered.get(path, 0)


def _equal(found: Found, alone: list[Forward]) -> None:
    for one in alone:
        if not one.same:
            found.remarks.append("with eager attention it is another model")
            one.theirs.clear()
        for path, said in one.ours.items():
            if path in one.theirs:
                wrong = found.equal.setdefault(path, [])
                wrong.extend(differences(said, one.theirs[path]))
        for message in one.lost:
            found.equal.setdefault(message.split(":")[0], []).append(message.split(": ", 1)[1])
        for path in one.unlisted:
            found.equal.setdefault(path, []).append("attends, is neither met nor listed")


def _padded(found: Found, alone: list[Forward], side: str, one: Forward) -> None:
    """The padded batch against its sequences, or against its own weights where padding changes the model itself."""
    differ = partial(differences, left_out=BY_LENGTH)
    for path in dict.fromkeys(base(path) for part in [*alone, one] for path in part.ours):
        wrong = found.padded.setdefault(path, [])
        parts = [said for part in alone for said in _calls(part.ours, path)]
        here = _calls(one.ours, path)
        if not here or not parts:
            why = one.unmet.get(path, "")
            wrong.append(f"{side}: met in {len(parts)} calls alone, {len(here)} padded{': ' if why else ''}{why}")
            continue
        expected, own = together(parts), [said for part in alone for said in _calls(part.theirs, path)]
        its = _calls(one.theirs, path)
        if len(its) == len(here) and len(own) == len(parts) and differ(together(its), together(own)):
            expected = together(its)
            found.remarks.append(f"the model itself is another one when padded ({side})")
        wrong.extend(f"{side}: {message}" for message in differ(together(here), expected))


def _calls(said: Mapping[str, Said], path: str) -> list[Said]:
    """Every call of one module in one forward."""
    return [one for name, one in said.items() if base(name) == path]


def _replaced(found: Found, case: Case, model: nn.Module, batch: Batch) -> list[Proof]:
    torch.manual_seed(5)
    proofs = verify(model, dict(batch.inputs))
    plain = entering(model, batch)
    for proof in proofs:
        if not proof.way:
            continue
        if proof.replaced:
            found.moved.append(proof.path)
        try:
            found.first_head[proof.path] = only_first_head(
                model, batch, plain, proof.path, proof.heads, case.interleaved
            )
        except Exception as error:
            found.first_head[proof.path] = False
            found.remarks.append(f"`{proof.path}`: replace(heads=[0]): {str(error)[:120]}")
    return proofs


def _silent(found: Found, forwards: list[Forward], ignores: str) -> None:
    if ignores:
        found.remarks.insert(0, ignores)
    excused = {path for one in forwards for path in (*one.unmet, *one.in_part)}
    doubted = {
        name for one in forwards for path, said in one.ours.items() if not said.verified for name in (path, base(path))
    }
    found.doubted = sorted(doubted)
    for path in dict.fromkeys([*found.equal, *found.padded]):
        wrong = found.equal.get(path) or (not ignores and found.padded.get(path))
        if wrong and path not in doubted and path not in excused and base(path) not in excused:
            found.wrong.append(path)


def _remarks(found: Found, alone: list[Forward], proofs: list[Proof]) -> None:
    reasons: dict[str, list[str]] = {}
    for one in alone:
        for path, why in (one.unmet | one.in_part).items():
            reasons.setdefault(why, []).append(f"`{path}`")
    for proof in proofs:
        if proof.way and proof.reason:
            reasons.setdefault(proof.reason, []).append(f"`{proof.path}`")
    found.remarks += [f"{', '.join(list(dict.fromkeys(paths))[:2])}: {why}" for why, paths in reasons.items()]
    if not found.attending:
        found.remarks.append("no module looks like attention and no call was met")
    found.remarks = list(dict.fromkeys(found.remarks))
