import json
from pathlib import Path

import pytest
import typer
from reproductions.answer import Answer
from reproductions.command import claims
from reproductions.judging import Answered
from typer.testing import CliRunner

from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict

runner = CliRunner()
app = typer.Typer()
app.command()(claims)


def answered(name: str, note: str, answer: Answer, finding: Finding) -> Answered:
    words = {"section": "section 1", "sentence": "Norms of all layers rise with depth and with training."}
    return Answered(name=name, note=note, figure="5.3 to 9.8", answer=answer, findings=(finding,), **words)


@pytest.fixture(autouse=True)
def _known_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    rose = Finding(claim="rises", verdict=Verdict.PASS, reason="They rose.", estimate=1.5, interval=(1.2, 1.8),
                   unit="norm", n=22, null="0", p=0.00001)  # fmt: skip
    left = Finding(claim="falls", verdict=Verdict.SKIP, reason="\x1b[31mIt takes more.")
    answers = [
        answered("rises", "002", Answer.REPRODUCED, rose),
        answered("falls", "004", Answer.UNTESTED, left),
    ]
    monkeypatch.setattr("reproductions.stored.stored_answers", lambda: answers)
    monkeypatch.setenv("COLUMNS", "80")


def test_a_page_of_eighty_columns_with_a_count_at_its_end() -> None:
    shown = runner.invoke(app, [])
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "Note 002: Analysis of Attention Key Evolution" in text and "REPRODUCED rises" in text
    assert "They rose. (1.50 norm, 95% [1.20, 1.80], n = 22, p < 0.0001; null: 0)" in text
    assert "1 reproduced, 1 not tested" in text and "\x1b" not in shown.stdout


def test_what_is_asked_for_alone_is_shown() -> None:
    assert "rises" not in runner.invoke(app, ["--note", "004"]).stdout
    assert "falls" not in runner.invoke(app, ["--answer", "reproduced"]).stdout
    assert "falls" not in runner.invoke(app, ["rises"]).stdout
    assert "no claim" in runner.invoke(app, ["rises", "--note", "004"]).stdout
    for words in (["sings"], ["--note", "7"], ["--answer", "maybe"]):
        refused = runner.invoke(app, [*words])
        assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert "expected one of" in refused.stderr


def test_json_is_the_stored_form(tmp_path: Path) -> None:
    alone = runner.invoke(app, ["--json", "-"])
    document = json.loads(alone.stdout)
    assert document["schema"] == "heedful.claims/1" and document["claims"][0]["findings"][0]["interval"] == [1.2, 1.8]
    place = tmp_path / "claims.json"
    assert runner.invoke(app, ["--json", str(place)]).exit_code == 0
    assert json.loads(place.read_text()) == document
