"""No alarm on health: what looks like a fault, and every architecture of docs/architectures.md."""

from __future__ import annotations

import sys

import pytest
from tests.contract.look_alikes import every
from tests.places import ROOT

from heedful.contract.check import check
from heedful.errors import CaptureError

ALIKE = every()
SHORT = [name for name in ALIKE if not name.endswith((" right", " left", " eager"))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHORT)
def test_health_is_no_alarm(name: str) -> None:
    model, batch = ALIKE[name]()
    report = check(model, batch)
    assert [(one.promise, one.path, one.found) for one in report.broken] == []
    assert report.held


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in ALIKE if name not in SHORT])
def test_padded_and_eager_health_is_no_alarm(name: str) -> None:
    model, batch = ALIKE[name]()
    assert check(model, batch).held


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_alarm_on_any_architecture_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of docs/architectures.md but those whose page says that they attend to padding whatever they are told."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    from architectures.families.registry import cases

    alarms, count = [], 0
    for name, case in cases().items():
        if case.absent() or case.ignores:
            continue
        model = case.build(False)
        runs = case.runs(model)
        for side, batch in [("alone", runs.alone[0]), *runs.padded.items()]:
            try:
                report = check(model, dict(batch.inputs))
            except CaptureError:
                continue
            count += 1
            alarms += [f"{name} {side}: {one.path} {one.promise}: {one.found}" for one in report.broken]
    assert alarms == []
    assert count > 300
