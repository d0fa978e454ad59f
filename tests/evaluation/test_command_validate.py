import json
from pathlib import Path
from typing import Any

import pytest
from tests.commandline import rooms
from tests.evaluation.page import factory
from typer.testing import CliRunner

from heedful.app import app
from heedful.errors import InputRejected
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.page.terminal import terminal_text
from heedful.inference.verdict import Verdict

runner = CliRunner()


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return rooms.install(monkeypatch.setitem, lambda **_: factory.small())


def test_the_page_is_printed(calls: dict[str, Any]) -> None:
    result = runner.invoke(app, ["validate"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, terminal_text(factory.small()), "")
    assert calls["load_documents"] is None
    assert calls["load_model"]["model"] is None


def test_every_option_reaches_its_room(calls: dict[str, Any]) -> None:
    words = "validate m --config c.json --tokenizer t --text a.txt --text b.txt --seq-len 16 --sequences 3"
    words += (
        " --preset quick --null-models 2 --require x --require y --device cuda --dtype bfloat16 --seed 5 --budget 60"
    )
    words += " --allow-global argparse.Namespace"
    assert runner.invoke(app, words.split()).exit_code == 0
    assert calls["load_model"] == {
        "model": "m",
        "config": Path("c.json"),
        "tokenizer": "t",
        "device": "cuda",
        "dtype": "bfloat16",
        "allow_globals": ("argparse.Namespace",),
        "processes": 1,
    }
    assert calls["load_documents"] == [Path("a.txt"), Path("b.txt")]
    assert calls["make_sequences"] == {
        "documents": "documents",
        "tokenizer": "a tokenizer",
        "seq_len": 16,
        "sequences": 3,
        "seed": 5,
        "max_positions": 1024,
        "vocab_size": 50,
        "trained_positions": 512,
    }
    assert calls["judge"].pop("progress")(1, 2, "x") is None
    assert calls["judge"] == {
        "ranks": None,
        "cards": False,
        "model": "a model",
        "sequences": "sequences",
        "settings": rooms.Settings(preset="quick", null_models=2, require=("x", "y"), seed=5, budget=60.0),
        "name": "m",
        "notes": ("a note",),
        "build": None,
    }


@pytest.mark.parametrize(("words", "looks"), [([], 1), (["--sequential"], 5)])
def test_sequential_asks_for_five_looks(words: list[str], looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = rooms.install(monkeypatch.setitem, lambda **_: factory.small())
    assert runner.invoke(app, ["validate", *words]).exit_code == 0
    assert calls["judge"]["settings"].interim_analyses == looks


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PASS, 0), (Verdict.WARN, 0), (Verdict.FAIL, 1)])
def test_only_a_failed_validation_fails(verdict: Verdict, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.install(monkeypatch.setitem, lambda **_: factory.small(verdict=verdict))
    assert runner.invoke(app, ["validate"]).exit_code == code


def test_json_to_standard_output_is_alone_there(calls: dict[str, Any]) -> None:
    result = runner.invoke(app, ["validate", "--json", "-"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, to_json(factory.small()), "")


def test_json_to_a_file_is_written_beside_the_page(calls: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for _ in range(2):  # an earlier report may be replaced
        result = runner.invoke(app, ["validate", "--json", str(path)])
        assert (result.exit_code, result.stdout) == (0, terminal_text(factory.small()))
        assert result.stderr == f"wrote {path}\n"
    assert to_json(from_json(path.read_text())) == to_json(factory.small())
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_and_figures_are_written_beside_the_terminal_page(calls: dict[str, Any], tmp_path: Path) -> None:
    page, folder = tmp_path / "report.html", tmp_path / "figures"
    for words in ([], ["--force"]):  # an earlier page may be replaced, earlier figures when told
        result = runner.invoke(app, ["validate", "--html", str(page), "--figures", str(folder), *words])
        assert (result.exit_code, result.stdout) == (0, terminal_text(factory.small()))
        assert result.stderr == f"wrote {page}\nwrote {folder}\n"
    assert calls["judge"]["cards"] is True
    assert page.read_text().startswith("<!doctype html>")
    assert {path.name for path in folder.iterdir()} >= {"concentration_map.svg", "concentration_map.png"}


def test_a_file_of_another_kind_needs_force(calls: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text("{}")
    result = runner.invoke(app, ["validate", "--json", str(path)])
    assert result.exit_code == 5
    assert "--force" in result.stderr
    assert path.read_text() == "{}"
    assert calls == {}
    assert runner.invoke(app, ["validate", "--json", str(path), "--force"]).exit_code == 0
    assert json.loads(path.read_text())["schema"] == "heedful.report/1"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--preset", "slow"], 2),
        (["--seq-len", "1"], 2),
        (["--sequences", "0"], 2),
        (["--require", "no_such_claim"], 2),
        (["--json", "no/such/folder/a.json"], 5),
        (["--json", "."], 5),
        (["--json", "/dev/full"], 5),
        (["--html", "no/such/folder/a.html"], 5),
        (["--html", "/dev/full"], 5),
        (["--html", "-"], 2),
        (["--figures", "/dev/full"], 5),
        (["--json", "a", "--html", "a"], 2),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_loaded(
    words: list[str], code: int, calls: dict[str, Any]
) -> None:
    result = runner.invoke(app, ["validate", *words])
    assert result.exit_code == code
    assert result.stdout == ""
    assert calls == {}


@pytest.mark.parametrize(
    ("error", "code"), [(InputRejected("m", "no"), 3), (KeyboardInterrupt(), 130), (ValueError("x"), 6)]
)
def test_an_error_leaves_nothing_behind(
    error: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise error

    rooms.install(monkeypatch.setitem, lambda **_: factory.small(), load)
    result = runner.invoke(app, ["validate", "m", "--json", str(tmp_path / "a.json")])
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("claim", ["mass_by_distance", "ablation_signature", "beauty"])
def test_a_claim_that_can_never_pass_cannot_be_required(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedful.loading.loaded_model.load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    result = runner.invoke(app, ["validate", "--require", "local_bias", "--require", claim])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert claim in result.stderr and "expected some of " in result.stderr and "local_bias" in result.stderr
