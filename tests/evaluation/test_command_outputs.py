"""Files that a command line asks for: refused before the work, replaced only where they are earlier reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.page import factory

from heedful.errors import OutputError, UsageError
from heedful.evaluation.command_outputs import Outputs


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
