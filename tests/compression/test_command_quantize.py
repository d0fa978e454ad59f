"""``heedful compress quantize``: its options, its files, and what it refuses before the work."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.compression.records import quantization
from typer.testing import CliRunner

from heedful.app import app
from heedful.compression.page_quantization import quantization_page
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
        return quantization()

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("heedful.evaluation.model_and_text.read", read)
    monkeypatch.setattr("heedful.compression.quantize_keys.quantize_keys", measured)
    return noted


def test_the_page_is_printed_and_options_reach_their_rooms(calls: dict[str, Any]) -> None:
    words = "compress quantize m --text a.txt --seq-len 16 --sequences 3 --seed 5 --device cuda --dtype bfloat16"
    words += " --bits 4 --bits 2 --group token --clip 95 --rotation before"
    result = runner.invoke(app, words.split())
    assert (result.exit_code, result.stdout, result.stderr) == (0, page_text(quantization_page(quantization())), "")
    given = calls["measured"]
    assert [one.name for one in given["quantizers"]] == [
        "4-bit token",
        "2-bit token",
        "tensor clip 95",
        "4-bit tensor clip 95",
    ]
    assert (given["stage"], given["seed"], given["name"], given["notes"]) == ("before", 5, "a name", ("a note",))
    inputs = calls["inputs"]
    assert (inputs.model, inputs.text, inputs.seq_len, inputs.sequences) == ("m", [Path("a.txt")], 16, 3)
    assert (inputs.device, inputs.dtype) == ("cuda", "bfloat16")


def test_files_are_written_whole_and_replaced_only_where_they_are_its_own(
    calls: dict[str, Any], tmp_path: Path
) -> None:
    document, page = tmp_path / "q.json", tmp_path / "q.html"
    asked = ["compress", "quantize", "--json", str(document), "--html", str(page)]
    for _ in range(2):  # its own files may be written again
        result = runner.invoke(app, asked)
        assert (result.exit_code, result.stderr) == (0, f"wrote {document}\nwrote {page}\n")
    assert json.loads(document.read_text())["schema"] == "heedful.quantization/1"
    document.write_text("mine")
    assert runner.invoke(app, asked).exit_code == 5 and document.read_text() == "mine"


def test_json_alone_on_standard_output(calls: dict[str, Any]) -> None:
    result = runner.invoke(app, ["compress", "quantize", "--json", "-"])
    assert json.loads(result.stdout)["schema"] == "heedful.quantization/1"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("--bits 9", 2, "bits: expected 1 to 8, got 9"),
        ("--bits four", 2, "--bits"),
        ("--group row", 2, "group: expected one of tensor, token, channel; got 'row'"),
        ("--clip 100", 2, "clip: expected a percentage"),
        ("--rotation during", 2, "--rotation"),
        ("--html -", 2, "standard output takes --json alone"),
        ("--json missing/q.json", 5, "missing"),
    ],
)
def test_bad_words_are_refused_before_the_work(words: str, code: int, told: str, calls: dict[str, Any]) -> None:
    result = runner.invoke(app, ["compress", "quantize", *words.split()])
    assert result.exit_code == code and told in result.stderr and calls == {}


@pytest.mark.slow
def test_the_embedded_model_is_priced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = "compress quantize --sequences 2 --seq-len 24 --bits 4 --group token --clip 99 --json -"
    result = runner.invoke(app, words.split())
    document = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [one["name"] for one in document["trials"]] == ["4-bit token", "tensor clip 99", "4-bit tensor clip 99"]
    assert all(0 < one["quantized"]["divergence"]["estimate"] < 0.2 for one in document["trials"])
    assert {one["verdict"] for one in document["trials"]} == {"insufficient data"}
