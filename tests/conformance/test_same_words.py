"""What a command can do, one public function does with the same words; the command itself only parses and prints."""

from __future__ import annotations

import ast
import inspect

import pytest
from tests.places import ROOT

import heedful
from heedful.commandline.commands import COMMANDS
from heedful.reporting.shown_record import ShownRecord

FUNCTIONS = {
    "validate": "validate",
    "heads": "heads",
    "compare": "compare",
    "watch": "watch",
    "ngrams count": "count",
    "ngrams derive": "derive",
    "ngrams explain": "explain",
    "ngrams align": "align",
    "ngrams remedy": "remedy",
    "compress quantize": "quantize",
    "compress prune": "prune",
}
SHOWING = {"brief", "json", "html", "figures", "markdown", "junit", "force", "debug"}
"""Options that say where a result goes: the record's ``save`` and ``to_json`` are for that."""
OTHERWISE = {
    "compare": {"first": "before", "second": "after"},
    "heads": {"out": ""},  # the record saves itself as .csv or .parquet
    "validate": {"parallel": "ranks"},
}
OTHERWISE["ngrams remedy"] = {"rungs": ""}  # the name that --variants had before
OTHERWISE["heads"]["parallel"] = "ranks"
COMMAND_FILES = [
    "evaluation/command_validate.py",
    "evaluation/command_heads.py",
    "comparison/command.py",
    "monitoring/command.py",
    "ngrams/counting/command.py",
    "ngrams/derivation/command_derive.py",
    "ngrams/explanation/command.py",
    "ngrams/alignment/command.py",
    "ngrams/remedies/command.py",
    "compression/command_quantize.py",
    "compression/command_prune.py",
]
DOMAIN = (
    "torch",
    "numpy",
    "transformers",
    "heedful.interception",
    "heedful.attention",
    "heedful.loading",
    "heedful.inference",
)


@pytest.mark.parametrize("command", FUNCTIONS)
def test_the_function_has_the_words_of_the_command(command: str) -> None:
    run = COMMANDS[command].run
    assert run is not None
    options = {OTHERWISE.get(command, {}).get(name, name) for name in inspect.signature(run).parameters} - {""}
    words = set(inspect.signature(getattr(heedful, FUNCTIONS[command])).parameters)
    assert options - SHOWING - words == set()


@pytest.mark.parametrize("command", FUNCTIONS)
def test_defaults_are_those_of_the_command(command: str) -> None:
    run = COMMANDS[command].run
    assert run is not None
    theirs = inspect.signature(getattr(heedful, FUNCTIONS[command])).parameters
    for name, option in inspect.signature(run).parameters.items():
        word = theirs.get(name)
        if word is None or option.default in (None, inspect.Parameter.empty) or word.default in (None, ()):
            continue  # "not said" has a form of its own on each side
        assert option.default == word.default, name


@pytest.mark.parametrize("name", sorted(FUNCTIONS.values()))
def test_every_function_returns_a_record_and_shows_an_example(name: str) -> None:
    function = getattr(heedful, name)
    returned = inspect.signature(function).return_annotation
    module = inspect.getmodule(function)
    records = {cls.__name__ for cls in _every(ShownRecord)}
    assert str(returned) in records, (name, returned)
    assert "Example:" in (function.__doc__ or "") and ">>> " in function.__doc__
    for part in ("Args:", "Returns:", "Raises:"):
        assert part in function.__doc__
    assert module is not None and module.__name__ not in {f"heedful.{one}" for one in heedful.__all__}


def _every(base: type) -> set[type]:
    import heedful.comparison.record
    import heedful.compression.record
    import heedful.monitoring.page.record
    import heedful.ngrams.alignment.record
    import heedful.ngrams.counting.count
    import heedful.ngrams.explanation.record
    import heedful.ngrams.remedies.record  # noqa: F401

    return {one for child in base.__subclasses__() for one in {child, *_every(child)}}


@pytest.mark.parametrize("file", COMMAND_FILES)
def test_a_command_holds_no_domain_code(file: str) -> None:
    tree = ast.parse((ROOT / "src" / "heedful" / file).read_text(encoding="utf-8"))
    met = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    met += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert [one for one in met if one.startswith(DOMAIN)] == []
