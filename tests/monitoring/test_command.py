import json
from pathlib import Path
from typing import Any

import polars
import pytest
from tests.loading import material
from tests.monitoring.evolution import tables
from typer.testing import CliRunner

from heedful.app import app
from heedful.monitoring.page.record import NAMES

runner = CliRunner()

DRAWN = ("logits_and_entropy",)
"""Curves that the small tables have."""


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.slow
def test_figures_page_and_text(tmp_path: Path) -> None:
    run, page, folder = tables.write(tmp_path / "<b>run"), tmp_path / "watch.html", tmp_path / "figures"
    asked = ["watch", str(run), "--html", str(page), "--figures", str(folder)]
    result = runner.invoke(app, asked)
    assert (result.exit_code, result.stderr) == (0, f"wrote {page}\nwrote {folder}\n")
    assert {path.name for path in folder.iterdir()} == {
        f"{name}{end}" for name in (*NAMES, *DRAWN) for end in (".svg", ".png")
    }
    assert all((folder / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in NAMES)
    assert "√d_k = 8" in (folder / "key_norm_evolution.svg").read_text(encoding="utf-8")
    assert "middle (layers 3-5)" in (folder / "key_norm_evolution.svg").read_text(encoding="utf-8")  # the legend
    text = page.read_text(encoding="utf-8")
    assert (
        text.count("data:image/svg+xml;base64,") == 5 + len(DRAWN) and "&lt;b&gt;run" in text and "<b>run" not in text
    )
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in text and "<script" not in text
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert " ".join(result.stdout.split()).count("Not shown: ") == 5
    refused = runner.invoke(app, asked)
    assert (refused.exit_code, refused.stdout) == (5, "") and "--force" in refused.stderr
    assert runner.invoke(app, [*asked, "--force"]).exit_code == 0


@pytest.mark.parametrize("content", [b"PAR1 and no more", b""])
def test_a_broken_table_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "attention.parquet").write_bytes(content)
    result = runner.invoke(app, ["watch", str(tmp_path)])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert "expected a Parquet table" in result.stderr


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    polars.DataFrame({"a": [1]}).write_parquet(tmp_path / "attention.parquet")
    result = runner.invoke(app, ["watch", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (3, "") and "schema heedful.attention/1" in result.stderr


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(material.make_text(60))
    return path


def test_checkpoints_are_read_saved_and_shown_again(text: Path, tmp_path: Path) -> None:
    run, table = tmp_path / "run", tmp_path / "keys.parquet"
    for step in (20, 10):
        material.save_model(run / f"checkpoint-{step}", "llama")
    asked = ["watch", str(run), "--text", str(text), "--seq-len", "16", "--sequences", "4"]
    result = runner.invoke(app, [*asked, "--out", str(table)])
    assert (result.exit_code, result.stderr) == (0, f"wrote {table}\n")
    message = " ".join(result.stdout.split())
    assert "2 checkpoints from step 10 to 20" in message and "64 tokens in 4 sequences" in message
    again = runner.invoke(app, ["watch", str(table)])
    rest = [one.stdout.partition("KEY NORM EVOLUTION")[2] for one in (result, again)]
    assert again.exit_code == 0 and rest[0] == rest[1] != ""
    kept = runner.invoke(app, [*asked, "--out", str(table)])
    assert (kept.exit_code, kept.stdout) == (5, "") and "--force" in kept.stderr
    single = runner.invoke(app, [*asked[:1], str(run / "checkpoint-10"), *asked[2:], "--json", "-"])
    document = json.loads(single.stdout)
    assert (single.exit_code, document["schema"]) == (0, "heedful.watch/1")
    assert [len(figure["rows"]) > 0 for figure in document["keys"]["figures"]] == [False, False, False, True, True]


def broken(place: Path) -> list[str]:
    material.save_model(place / "step-1", "llama")
    file = place / "step-1" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    return [str(place / "step-1")]


def twice(place: Path) -> list[str]:
    return [str(place / "a" / "step-1"), str(place / "b" / "step-1")]


def absent(place: Path) -> list[str]:
    return [str(place / "nowhere" / "at-all")]


def empty(place: Path) -> list[str]:
    (place / "empty").mkdir()
    return [str(place / "empty")]


def table(place: Path) -> list[str]:
    return [str(tables.write(place / "run"))]


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (broken, 3, "model.safetensors"),
        (twice, 2, "both are of step 1"),
        (absent, 2, "expected a file or folder, found none"),
        (empty, 3, "found no config.json"),
        (table, 2, "--text is for checkpoints"),
    ],
)
def test_bad_checkpoints_get_one_line(make: Any, code: int, told: str, text: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["watch", *make(tmp_path), "--text", str(text)])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1)
    assert told in result.stderr


def test_a_table_of_another_suffix_is_refused_first(tmp_path: Path) -> None:
    result = runner.invoke(app, ["watch", str(tmp_path), "--out", str(tmp_path / "keys.xlsx")])
    assert result.exit_code == 2 and "ends in .parquet" in result.stderr
