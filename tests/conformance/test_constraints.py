"""The versions that a clone gets: every direct dependency is held, at or above its floor, one torch for all."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from tests.places import ROOT


def name_of(requirement: str) -> str:
    return Requirement(requirement).name.lower().replace("_", "-")


def held(name: str) -> dict[str, str]:
    """Name to version, of one constraints file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name_of(package): version for package, version in pairs}


def wanted() -> list[str]:
    """Every direct requirement, of building, using and each extra."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = found["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    return sorted({*found["build-system"]["requires"], *project["dependencies"], *extras})


@pytest.mark.parametrize("requirement", wanted())
def test_a_direct_dependency_has_a_floor_and_one_version_at_or_above_it(requirement: str) -> None:
    versions = held("constraints-ci.txt")
    assert ">=" in requirement and name_of(requirement) in versions
    assert Requirement(requirement).specifier.contains(versions[name_of(requirement)], prereleases=True)


def test_nothing_else_is_held() -> None:
    assert set(held("constraints-ci.txt")) == {name_of(requirement) for requirement in wanted()}


def test_torch_is_one_and_of_no_build() -> None:
    assert held("constraints-torch.txt") == {"torch": held("constraints-ci.txt")["torch"]}
    assert Version(held("constraints-ci.txt")["torch"]).local is None
