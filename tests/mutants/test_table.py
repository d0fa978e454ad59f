"""The table of mutants fits the source: each old text is there once, the change compiles, and its tests exist."""

from __future__ import annotations

import ast
import shlex

import pytest
from tests.mutants.mutant import ROOT, SOURCE, Mutant
from tests.mutants.table import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{one.file}: {one.name}" for one in MUTANTS])
def test_a_mutant_is_a_change_of_the_source(mutant: Mutant) -> None:
    text = (SOURCE / mutant.path).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(mutant.changed(text))) != ast.dump(ast.parse(text))


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{one.file}: {one.name}" for one in MUTANTS])
def test_the_tests_of_a_mutant_exist(mutant: Mutant) -> None:
    named = [word for word in shlex.split(mutant.tests) if word.startswith("tests/")]
    assert named
    for word in named:
        file, _, function = word.partition("::")
        assert (ROOT / file).exists(), file
        assert not function or f"def {function.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), word


def test_names_tell_mutants_apart() -> None:
    assert len({(one.file, one.name) for one in MUTANTS}) == len(MUTANTS)
