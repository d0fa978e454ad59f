import runpy
from pathlib import Path
from types import SimpleNamespace

import polars
import pytest
from typer.testing import CliRunner

from heedful.cli import app
from heedful.report.keys.record import NAMES

TABLES = Path(__file__).parents[1] / "training" / "key_evolution" / "tables.py"
tables = SimpleNamespace(**runpy.run_path(str(TABLES)))
runner = CliRunner()


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.slow
def test_figures_page_and_text(tmp_path: Path) -> None:
    run, page, folder = tables.write(tmp_path / "<b>run"), tmp_path / "keys.html", tmp_path / "figures"
    asked = ["keys", str(run), "--html", str(page), "--figures", str(folder)]
    result = runner.invoke(app, asked)
    assert (result.exit_code, result.stderr) == (0, f"wrote {page}\nwrote {folder}\n")
    assert {path.name for path in folder.iterdir()} == {f"{name}{end}" for name in NAMES for end in (".svg", ".png")}
    assert all((folder / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in NAMES)
    assert "√d_k = 8" in (folder / "key_norm_evolution.svg").read_text(encoding="utf-8")
    assert "middle (layers 3-5)" in (folder / "key_norm_evolution.svg").read_text(encoding="utf-8")  # the legend
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 5 and "&lt;b&gt;run" in text and "<b>run" not in text
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in text and "<script" not in text
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert " ".join(result.stdout.split()).count("Not shown: ") == 5
    refused = runner.invoke(app, asked)
    assert (refused.exit_code, refused.stdout) == (5, "") and "--force" in refused.stderr
    assert runner.invoke(app, [*asked, "--force"]).exit_code == 0


@pytest.mark.parametrize("content", [b"PAR1 and no more", b""])
def test_a_broken_table_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "attention.parquet").write_bytes(content)
    result = runner.invoke(app, ["keys", str(tmp_path)])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert "expected a Parquet table" in result.stderr


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    polars.DataFrame({"a": [1]}).write_parquet(tmp_path / "attention.parquet")
    result = runner.invoke(app, ["keys", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (3, "") and "schema heedful.attention/1" in result.stderr
