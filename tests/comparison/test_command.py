import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.evaluation.page import factory
from typer.testing import CliRunner

from heedful.app import app, main
from heedful.commandline.help import _RULES
from heedful.comparison.record import FAIL_ON
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.result import Section
from heedful.inference.verdict import Verdict

runner = CliRunner()


@pytest.fixture
def reports(tmp_path: Path) -> list[str]:
    """A report that passes and one in which the same claim does not."""
    paths = []
    for name, verdict in (("first", "PASS"), ("second", "WARN")):
        section = Section(number=1, title="Correctness", findings=[factory.finding(verdict=verdict, estimate=1.0)])
        path = tmp_path / f"{name}.json"
        path.write_text(to_json(factory.small(verdict=Verdict(verdict), sections=[section], model={"name": name})))
        paths.append(str(path))
    return paths


def test_a_regression_leaves_with_one(reports: list[str]) -> None:
    result = runner.invoke(app, ["compare", *reports])
    assert (result.exit_code, result.stderr) == (1, "")
    assert "REGRESSION" in result.stdout and "rows_sum_to_one: PASS -> WARN" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--fail-on", "fail"], 0),
        (["--fail-on", "never"], 0),
        (["--fail-on", "effect"], 1),
        (["--fail-on", "effect", "--fail-on", "verdict"], 1),
        (["--fail-on", "slower"], 2),
        (["--fail-on", "never", "--fail-on", "fail"], 2),
        (["--tolerance", "-1"], 2),
    ],
)
def test_the_rule_decides(reports: list[str], words: list[str], code: int) -> None:
    assert runner.invoke(app, ["compare", *reports, *words]).exit_code == code


def test_several_rules_may_follow_one_flag(reports: list[str]) -> None:
    assert set(FAIL_ON) == set(_RULES)
    with pytest.raises(SystemExit) as left:
        main(["compare", "--fail-on", "effect", "verdict", *reports])
    assert left.value.code == 1


def test_the_other_way_round_is_no_regression(reports: list[str]) -> None:
    assert runner.invoke(app, ["compare", *reversed(reports)]).exit_code == 0


def test_every_form_is_written(reports: list[str], tmp_path: Path) -> None:
    forms = {form: tmp_path / f"c.{form}" for form in ("json", "html", "markdown", "junit")}
    words = [word for form, path in forms.items() for word in (f"--{form}", str(path))]
    for _ in range(2):  # what heedful wrote may be replaced
        result = runner.invoke(app, ["compare", *reports, *words])
        assert result.exit_code == 1
        assert result.stderr == "".join(f"wrote {path}\n" for path in forms.values())
    assert json.loads(forms["json"].read_text())["failed"] is True
    assert forms["html"].read_text().startswith("<!doctype html>")
    assert "rows&#95;sum" in forms["markdown"].read_text()
    assert ElementTree.parse(forms["junit"]).getroot().get("failures") == "1"


def test_json_to_standard_output_is_alone_there(reports: list[str]) -> None:
    result = runner.invoke(app, ["compare", *reports, "--json", "-"])
    assert json.loads(result.stdout)["schema"] == "heedful.comparison/1"


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 2, "found none"),
        ("", 3, "expected a whole JSON document"),
        ("cut", 3, "expected a whole JSON document"),
        ("{}", 3, "expected schema heedful.report/1, got None"),
        ('{"schema": "heedful.report/2"}', 3, "schema 2 > 1"),
        ('{"schema": "heedful.report/1"}', 3, "does not follow"),
        ("folder", 3, "expected a regular file, found a directory"),
    ],
)
def test_bad_input_is_one_line(reports: list[str], content: str | None, code: int, said: str) -> None:
    second = Path(reports[1])
    whole = second.read_text()
    second.unlink()
    if content == "folder":
        second.mkdir()
    elif content is not None:
        second.write_text(whole[:200] if content == "cut" else content)
    result = runner.invoke(app, ["compare", *reports])
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.count("\n") == 1 and said in result.stderr and "second.json" in result.stderr


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_a_report_that_is_read_is_not_written_over(reports: list[str], form: str) -> None:
    before = Path(reports[1]).read_text()
    result = runner.invoke(app, ["compare", *reports, f"--{form}", reports[1], "--force"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is one of the two reports" in result.stderr and Path(reports[1]).read_text() == before


def test_one_file_under_two_names_is_refused(reports: list[str], tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(reports[0])
    for other in (reports[0], str(link)):
        result = runner.invoke(app, ["compare", reports[0], other])
        assert result.exit_code == 2
        assert "is the same file as" in result.stderr and result.stderr.count("\n") == 1
