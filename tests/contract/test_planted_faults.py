"""Every planted fault is found, named to its promise, its layer and the first wrong pair, and mended by its remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contract.architectures import LENGTH, implementations
from tests.contract.planted import FAULTS, every, planted
from tests.contract.planting import SECOND, Fault, Planted

from heedful.contract.check import check
from heedful.contract.record import ContractReport

FIRST = [(fault, fault.architectures[0]) for fault in FAULTS]


def documents() -> torch.Tensor:
    return torch.cat([torch.zeros(SECOND), torch.ones(LENGTH - SECOND)]).long()[None]


def named_rightly(report: ContractReport, found: Planted) -> str:
    """Empty, or what was named in place of the fault."""
    if not report.broken:
        return "nothing is broken"
    first = report.broken[0]
    if first.promise != found.promise or first.breach is None:
        return f"{first.promise} {first.path}: {first.found}"
    if not first.path.startswith(found.layer) or (found.layer == "") != (first.path == ""):
        return f"{first.promise} in {first.path}"
    pair = first.breach.query, first.breach.key
    wrong = [one for one, wanted in zip(pair, found.pair, strict=True) if wanted is not None and one != wanted]
    return f"{first.promise} at {pair}" if wrong else ""


def one_of(fault: Fault, name: str) -> str:
    return next(one for one in implementations(name) if one in fault.implementations)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("fault", "name"), FIRST, ids=[fault.name for fault, _ in FIRST])
def test_a_fault_is_named_and_its_remedy_mends_it(fault: Fault, name: str) -> None:
    with planted(fault, name, one_of(fault, name)) as found:
        report = check(found.model, found.batch, contract=found.contract)
        assert named_rightly(report, found) == ""
        assert all(one.remedy is not None and one.remedy.text for one in report.broken)
        codes = list(dict.fromkeys(one.remedy.code for one in report.broken if one.remedy and one.remedy.code))
        assert bool(codes) == fault.mends
        if fault.mends:
            given: dict[str, Any] = {"model": found.model, "batch": found.batch, "torch": torch}
            for code in codes:
                exec(code, {**given, "documents": documents()})  # the remedy as it is printed
            again = check(found.model, found.batch, contract=found.contract)
            assert again.held, [str(one) for one in again.broken]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nineteen_of_twenty_faults_are_named_in_every_architecture() -> None:
    """At least 24 faults, at least 12 architectures, every implementation in which they exist."""
    wrong, count, architectures = [], 0, set()
    for fault, name, implementation in every():
        with planted(fault, name, implementation) as found:
            message = named_rightly(check(found.model, found.batch, contract=found.contract), found)
        count += 1
        architectures.add(name)
        if message:
            wrong.append(f"{fault.name}, {name}, {implementation}: {message}")
    assert len(FAULTS) >= 24 and len(architectures) >= 12
    assert len(wrong) <= 0.05 * count, wrong
