"""``heedful compress prune``: its options, its files, and what it refuses before the work."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.compression.records import pruning
from typer.testing import CliRunner

from heedful.app import app
from heedful.compression.page_pruning import pruning_page
from heedful.reporting.pages.html import page_text

runner = CliRunner()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The command without a model: what its rooms were called with."""
    noted: dict[str, Any] = {}

    def read(inputs: Any) -> Any:
        noted["inputs"] = inputs
        return SimpleNamespace(model="a model", name="a name", notes=("a note",)), "sequences"

    def measured(model: Any, sequences: Any, **options: Any) -> Any:
        noted["measured"] = {"model": model, "sequences": sequences, **options}
        return pruning()

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("heedful.evaluation.model_and_text.read", read)
    monkeypatch.setattr("heedful.compression.pruning.measure_pruning", measured)
    return noted


def test_the_page_is_printed_and_options_reach_their_rooms(calls: dict[str, Any]) -> None:
    words = "compress prune m --text a.txt --seq-len 16 --sequences 3 --seed 5 --part heads --part layers"
    result = runner.invoke(app, [*words.split(), "--fraction", ".25", "--orders", "3", "--each-alone", "7"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, page_text(pruning_page(pruning())), "")
    cuts = calls["measured"]["cuts"]
    assert (cuts.parts, cuts.fractions, cuts.orders, cuts.each_alone) == (("heads", "layers"), (0.25,), 3, 7)
    assert (calls["measured"]["seed"], calls["inputs"].text) == (5, [Path("a.txt")])


def test_json_goes_to_a_file_or_alone_to_standard_output(calls: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    result = runner.invoke(app, ["compress", "prune", "--json", str(path)])
    assert (result.exit_code, result.stderr) == (0, f"wrote {path}\n")
    assert json.loads(path.read_text())["schema"] == "heedful.pruning/1"
    assert json.loads(runner.invoke(app, ["compress", "prune", "--json", "-"]).stdout)["schema"] == "heedful.pruning/1"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("--part rows", 2, "part: expected some of layers, heads, dimensions; got rows"),
        ("--fraction 1", 2, "fraction: expected numbers between 0 and 1"),
        ("--orders 1", 2, "--orders"),
        ("--html -", 2, "standard output takes --json alone"),
        ("--json missing/p.json", 5, "missing"),
    ],
)
def test_bad_words_are_refused_before_the_work(words: str, code: int, told: str, calls: dict[str, Any]) -> None:
    result = runner.invoke(app, ["compress", "prune", *words.split()])
    assert result.exit_code == code and told in result.stderr and calls == {}


@pytest.mark.slow
def test_the_embedded_model_is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = (
        "compress prune --sequences 4 --seq-len 24 --part layers --part dimensions --fraction .25 --orders 2 --json -"
    )
    result = runner.invoke(app, words.split())
    document = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    rises = {(one["part"], one["ranking"]): one["points"][0]["loss"]["estimate"] for one in document["curves"]}
    assert set(rises) >= {("layers", "random"), ("layers", "price"), ("dimensions", "contribution")}
    assert rises["layers", "random"] > 0
    assert {one["answer"] for one in document["savings"]} == {"insufficient data"}
