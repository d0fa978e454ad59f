"""What import-linter cannot say of the house: circles, names, guests, and a tree of tests like that of the source."""

from __future__ import annotations

import ast
import pkgutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest
from tests.places import ROOT, TESTS

import heedful

SOURCE = ROOT / "src"
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "heedful").rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}


@cache
def imported(module: str) -> tuple[str, ...]:
    """Every module that a file imports: at its top, inside functions, and for type checkers alone."""
    names: list[str] = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{name.name}" for name in node.names]
            names += [one if one in FILES else node.module for one in whole]
        elif isinstance(node, ast.Import):
            names += [name.name for name in node.names]
    return tuple(names)


def circle(edges: dict[str, set[str]]) -> list[str]:
    """What is left when all that imports nothing left, and all that nothing left imports, is taken away."""
    left = set(edges)
    while True:
        used = {other for one in left for other in edges[one] & left}
        gone = {one for one in left if not edges[one] & left or one not in used}
        if not gone:
            return sorted(left)
        left -= gone


def test_no_circle_between_files() -> None:
    edges = {module: {one for one in imported(module) if one in FILES and one != module} for module in FILES}
    assert circle(edges) == []


def test_no_circle_between_rooms() -> None:
    """A room is a folder below ``heedful``, or a file that stands there alone."""
    edges: dict[str, set[str]] = defaultdict(set)
    for module in FILES:
        room = module.split(".")[1:2]
        for other in (one.split(".")[1:2] for one in imported(module) if one.startswith("heedful.")):
            if room and other and room != other:
                edges[room[0]].add(other[0])
    rooms = set(edges) | {one for others in edges.values() for one in others}
    assert circle({room: edges.get(room, set()) for room in rooms}) == []


def parts_of(room: str, imports: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """What imports what inside a room: a part is a folder below the room, or a file that stands there alone."""
    inside = f"heedful.{room}."
    edges: dict[str, set[str]] = {
        module.removeprefix(inside).split(".")[0]: set() for module in imports if module.startswith(inside)
    }
    for module, others in imports.items():
        part = module.removeprefix(inside).split(".")[0]
        for other in others:
            if module.startswith(inside) and other.startswith(inside):
                edges[part].add(other.removeprefix(inside).split(".")[0])
    return {part: others & set(edges) - {part} for part, others in edges.items()}


ROOMS = sorted(path.name for path in (SOURCE / "heedful").iterdir() if (path / "__init__.py").is_file())


@pytest.mark.parametrize("room", ROOMS)
def test_no_circle_between_the_parts_of_a_room(room: str) -> None:
    assert circle(parts_of(room, {module: imported(module) for module in FILES})) == []


def test_the_circle_that_stood_in_ngrams_would_be_seen() -> None:
    """Three folders whose files make no circle: derivation -> explanation -> alignment -> derivation."""
    was = {
        "heedful.ngrams.derivation.derive": ["heedful.ngrams.explanation.logit_spreads"],
        "heedful.ngrams.explanation.logit_spreads": [],
        "heedful.ngrams.explanation.command": ["heedful.ngrams.alignment.command"],
        "heedful.ngrams.alignment.command": [],
        "heedful.ngrams.alignment.align": ["heedful.ngrams.derivation.table"],
        "heedful.ngrams.derivation.table": ["heedful.ngrams.counting.reading"],
        "heedful.ngrams.counting.reading": [],
    }
    assert circle({module: set(others) for module, others in was.items()}) == []
    assert circle(parts_of("ngrams", was)) == ["alignment", "derivation", "explanation"]


def test_a_circle_would_be_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c"]


def test_no_public_name_is_a_module_of_the_package() -> None:
    modules = {module.name for module in pkgutil.iter_modules(heedful.__path__)}
    assert modules and not modules & set(heedful.__all__)
    for name in heedful.__all__:
        assert getattr(heedful, name) is not None


def test_packages_export_nothing_that_is_a_module_of_theirs() -> None:
    for module, path in FILES.items():
        if path.name != "__init__.py":
            continue
        inside = {one.name for one in pkgutil.iter_modules([str(path.parent)])}
        named = {
            name.asname or name.name
            for node in ast.walk(TREES[module])
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        }
        assert not named & inside, module


def test_no_class_name_twice() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


@pytest.mark.parametrize(
    ("guest", "allowed"),
    [
        ("typer", ("heedful.app", "heedful.commandline.", ".command", ".commands", ".command_")),
        ("altair", ("heedful.reporting.", ".page", "charts", ".figures", "heedful.interception.session")),
        ("vl_convert", ("heedful.reporting.",)),
    ],
)
def test_a_guest_is_met_where_it_belongs(guest: str, allowed: tuple[str, ...]) -> None:
    met = [module for module in FILES if any(one.split(".")[0] == guest for one in imported(module))]
    assert met and [module for module in met if not any(word in module for word in allowed)] == []


def test_the_tests_have_the_folders_of_the_source() -> None:
    """A test that is named after a file lies where the file lies."""
    beside = {"conformance", "faults", "oracles", "golden", "mutants", "realmodels", "docs", "reproductions", "fuzz"}
    places = defaultdict(set)
    for path in FILES.values():
        places[path.stem].add(path.parent.relative_to(SOURCE / "heedful").as_posix())
    folders = {folder for found in places.values() for folder in found}
    wrong = []
    for path in TESTS.rglob("test_*.py"):
        name, here = path.stem.removeprefix("test_"), path.parent.relative_to(TESTS).as_posix()
        if Path(here).parts[:1] and Path(here).parts[0] in beside:
            continue
        if here not in folders or (name in places and here not in places[name]):
            wrong.append(path.relative_to(TESTS).as_posix())
    assert wrong == []
