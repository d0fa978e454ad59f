import json
from pathlib import Path
from typing import Any

import polars
import pytest
from tests.commandline import rooms
from tests.evaluation.page import factory
from typer.testing import CliRunner

from heedful.app import app
from heedful.evaluation.page.json_document import to_document

runner = CliRunner()


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return rooms.install(monkeypatch.setitem, lambda **_: list(factory.realistic().heads))


def test_every_head_is_printed(calls: dict[str, Any]) -> None:
    result = runner.invoke(app, ["heads", "m", "--seed", "3", "--seq-len", "32"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert sum(line.startswith("  L") for line in result.stdout.splitlines()) == 24
    assert calls["judge"]["settings"].seed == 3
    assert calls["make_sequences"]["seq_len"] == 32


def test_rows_as_json(calls: dict[str, Any]) -> None:
    result = runner.invoke(app, ["heads", "--json", "-"])
    assert json.loads(result.stdout) == to_document(factory.realistic())["heads"]


@pytest.mark.parametrize("name", ["heads.csv", "heads.parquet"])
def test_rows_as_a_file(name: str, calls: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / name
    result = runner.invoke(app, ["heads", "--out", str(path)])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {path}\n")
    assert (polars.read_csv(path) if name.endswith("csv") else polars.read_parquet(path)).height == 24
    assert runner.invoke(app, ["heads", "--out", str(path)]).exit_code == 5
    assert runner.invoke(app, ["heads", "--out", str(path), "--force", "--json", "-"]).stdout.startswith("[")


@pytest.mark.parametrize(("name", "code"), [("heads.txt", 2), ("missing/heads.csv", 5)])
def test_a_path_that_cannot_be_written_is_refused_first(
    name: str, code: int, calls: dict[str, Any], tmp_path: Path
) -> None:
    assert runner.invoke(app, ["heads", "--out", str(tmp_path / name)]).exit_code == code
    assert calls == {}
