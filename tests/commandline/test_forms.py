from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.commandline import rooms
from tests.evaluation.page import factory
from typer.testing import CliRunner

from heedful.app import app
from heedful.commandline.forms import Forms
from heedful.errors import OutputError, UsageError
from heedful.evaluation.page.terminal import terminal_text

runner = CliRunner()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("COLUMNS", "80")
    return rooms.install(monkeypatch.setitem, lambda **_: factory.small())


def test_nothing_is_asked_for() -> None:
    forms = Forms()
    forms.check()
    forms.write()
    assert forms.files == {}


def test_an_empty_file_is_filled_and_a_strange_one_is_kept(tmp_path: Path) -> None:
    empty, strange = tmp_path / "summary.md", tmp_path / "notes.md"
    empty.touch()
    strange.write_text("my notes")
    forms = Forms(markdown=empty)
    forms.check()
    forms.write(markdown=lambda: "<!-- heedful.report/1 -->\nx\n")
    assert empty.read_text().endswith("x\n")
    Forms(markdown=empty).check()
    with pytest.raises(OutputError, match=r"--force"):
        Forms(markdown=strange).check()
    Forms(markdown=strange, force=True).check()
    assert strange.read_text() == "my notes"


def test_one_path_for_two_forms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--junit .*x: is the path of --markdown too"):
        Forms(markdown=tmp_path / "x", junit=tmp_path / "x").check()


@pytest.mark.parametrize("form", ["html", "markdown", "junit"])
def test_standard_output_takes_json_alone(form: str) -> None:
    with pytest.raises(UsageError, match=f"--{form} -: standard output takes --json alone"):
        Forms(**{form: Path("-")}).check()  # type: ignore[arg-type]
    Forms(json=Path("-")).check()
    assert Forms(json=Path("-")).files == {}


def test_forms_for_continuous_integration_are_written_beside_the_page(calls: dict[str, Any], tmp_path: Path) -> None:
    xml, summary = tmp_path / "out.xml", tmp_path / "summary.md"
    summary.touch()
    words = ["validate", "--junit", str(xml), "--markdown", str(summary)]
    result = runner.invoke(app, words)
    assert (result.exit_code, result.stdout) == (0, terminal_text(factory.small()))
    assert result.stderr == f"wrote {summary}\nwrote {xml}\n"
    assert ElementTree.parse(xml).getroot().get("tests") == "1"
    assert summary.read_text().startswith("<!-- heedful.report/1 -->")
    xml.write_text("<other/>")
    assert runner.invoke(app, words).exit_code == 5


def test_one_path_for_json_and_another_form_is_refused(calls: dict[str, Any], tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    result = runner.invoke(app, ["validate", "--json", path, "--junit", path])
    assert result.exit_code == 2 and "is the path of --json too" in result.stderr and calls == {}
