"""``heedful report``: a stored document shown again, drawn again, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded
from typer.testing import CliRunner

from heedful.app import app
from heedful.errors import OutputError, UsageError
from heedful.evaluation.command_report import Outputs
from heedful.evaluation.page.html.page import to_html
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.page.terminal import terminal_text

runner = CliRunner()


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "report.json").write_text(to_json(carded()))
    return tmp_path / "report.json"


def test_the_page_of_the_terminal_is_shown_again(document: Path) -> None:
    result = runner.invoke(app, ["report", str(document)])
    assert (result.exit_code, result.stdout) == (0, terminal_text(from_json(document.read_text())))


def test_page_and_figures_are_made_again(document: Path, tmp_path: Path) -> None:
    page, folder = tmp_path / "report.html", tmp_path / "figures"
    result = runner.invoke(app, ["report", str(document), "--html", str(page), "--figures", str(folder)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"wrote {page}\nwrote {folder}\n"
    assert page.read_text() == to_html(from_json(document.read_text()))
    assert {path.suffix for path in folder.iterdir()} == {".svg", ".png"}


@pytest.mark.parametrize(("content", "said"), [("{", "whole JSON"), (None, "found none"), ("{}", "expected schema")])
def test_what_is_no_report_is_rejected(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    result = runner.invoke(app, ["report", str(path), "--html", str(tmp_path / "x.html")])
    assert result.exit_code == (2 if content is None else 3) and said in result.stderr
    assert not (tmp_path / "x.html").exists()


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    result = runner.invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 3 and "expected a regular file, found a directory" in result.stderr


def test_an_older_report_without_cards_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(to_json(factory.realistic()))
    result = runner.invoke(app, ["report", str(tmp_path / "old.json"), "--html", str(tmp_path / "old.html")])
    assert result.exit_code == 0 and (tmp_path / "old.html").exists()


def test_only_a_page_or_figures_ask_for_cards(tmp_path: Path) -> None:
    assert not Outputs(json=tmp_path / "a.json").drawn
    assert Outputs(html=tmp_path / "a.html").drawn and Outputs(figures=tmp_path).drawn


def test_two_outputs_need_two_paths(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is the path of --json too"):
        Outputs(json=tmp_path / "a", html=tmp_path / "b" / ".." / "a").check()
    with pytest.raises(UsageError, match="takes --json alone"):
        Outputs(html=Path("-")).check()


def test_an_earlier_page_is_replaced_and_another_file_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    wanted = Outputs(html=page)
    assert wanted.write(factory.small()) == [page]
    wanted.check()
    wanted.write(factory.small())
    page.write_text("<!doctype html>mine")
    with pytest.raises(OutputError, match="--force"):
        wanted.check()
    Outputs(html=page, force=True).check()


def test_every_file_is_checked_before_any_is_written(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(OutputError):
        Outputs(json=tmp_path / "a.json", figures=tmp_path / "figures").check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures"]
