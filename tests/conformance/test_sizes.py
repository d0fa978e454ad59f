"""Sizes and names of the house: files, function bodies, banned words, and asserts outside tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.places import ROOT

SOURCES = sorted([*(ROOT / "src" / "heedful").rglob("*.py"), *(ROOT / "reproductions").rglob("*.py")])
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))

MOST_LINES, MOST_TEST_LINES, MOST_BODY = 600, 600, 60

LONGER_FILES: dict[str, str] = {}
"""Path to the reason why it may be longer than 600 lines."""

LONGER_FUNCTIONS: dict[str, str] = {
    "tests/evaluation/page/factory.py::realistic": "one literal report, which reads best in one piece",
    "tests/fuzz/tokenizers.py::hostile": "one list of hostile tokenizers, a line each",
}
"""``path::function`` to the reason why its body may be longer than 60 lines."""

BANNED = re.compile(r"(^|_)(utils?|helpers?|common|misc|manager|handler|base2)(_|$)|^new_|^final_|_v2$", re.IGNORECASE)
BANNED_ARGUMENTS = {"mode", "kind"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def words(path: Path) -> set[str]:
    """The file's own name and the names of its classes and functions, in snake case."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    return {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in defined} | {path.stem, path.parent.name}


def test_there_is_something_to_hold() -> None:
    assert len(SOURCES) > 50 and len(TEST_FILES) > 50


@pytest.mark.parametrize(("paths", "most"), [(SOURCES + BENCHMARKS, MOST_LINES), (TEST_FILES, MOST_TEST_LINES)])
def test_files_are_short(paths: list[Path], most: int) -> None:
    long = {relative(path): n for path in paths if (n := len(path.read_text(encoding="utf-8").splitlines())) > most}
    assert set(long) <= set(LONGER_FILES), long


def test_functions_are_short() -> None:
    long = {
        f"{relative(path)}::{function.name}": n
        for path in SOURCES + BENCHMARKS + TEST_FILES
        for function in functions(path)
        if (n := body_lines(function)) > MOST_BODY
    }
    assert set(long) <= set(LONGER_FUNCTIONS), long


def test_exceptions_are_still_needed_and_give_reasons() -> None:
    for path, reason in LONGER_FILES.items():
        most = MOST_TEST_LINES if path.startswith("tests/") else MOST_LINES
        assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) > most and len(reason) > 20
    for name, reason in LONGER_FUNCTIONS.items():
        path, function = name.split("::")
        lengths = [body_lines(node) for node in functions(ROOT / path) if node.name == function]
        assert max(lengths) > MOST_BODY and len(reason) > 20


def test_no_banned_names() -> None:
    found = {relative(path): sorted(bad) for path in SOURCES if (bad := {w for w in words(path) if BANNED.search(w)})}
    assert found == {}


def test_no_flags_called_mode_or_kind() -> None:
    """Numbers of a file format or of file permissions are no flags."""
    found = [
        f"{relative(path)}::{function.name}"
        for path in SOURCES
        for function in functions(path)
        for argument in (*function.args.args, *function.args.kwonlyargs)
        if argument.arg in BANNED_ARGUMENTS and not (argument.annotation and ast.unparse(argument.annotation) == "int")
    ]
    assert found == []


def test_no_assert_outside_tests() -> None:
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert found == []
