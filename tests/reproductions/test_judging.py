"""Claims are judged on a folder of measurements, kept as data, and kept only in each other's place."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars
import pytest
from reproductions.answer import Answer, answer_of
from reproductions.answering import main, merged
from reproductions.deciding import above, below, beside, identity, within
from reproductions.evidence import Measurements, NotMeasured
from reproductions.judging import judge
from reproductions.published import CLAIMS, published, untested
from reproductions.stored import stored_answers, write_answers

from heedful.errors import InputRejected
from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from heedful.inference.verdict import Verdict

WORDS = {"note": "002", "section": "section 1", "sentence": "It rises.", "figure": "9"}


def found(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 4, 0.95)


def part(verdict: Verdict) -> Finding:
    return Finding(claim="c", verdict=verdict, reason="r")


@pytest.mark.parametrize(
    ("verdicts", "answer"),
    [
        ([Verdict.PASS, Verdict.PASS, Verdict.INFO], Answer.REPRODUCED),
        ([Verdict.PASS, Verdict.ABSENT], Answer.REFUTED),
        ([Verdict.INSUFFICIENT, Verdict.ABSENT, Verdict.SKIP], Answer.REFUTED),
        ([Verdict.PASS, Verdict.INSUFFICIENT], Answer.OPEN),
        ([Verdict.PASS, Verdict.SKIP], Answer.OPEN),
        ([Verdict.SKIP, Verdict.INFO], Answer.UNTESTED),
    ],
)
def test_parts_make_an_answer(verdicts: list[Verdict], answer: Answer) -> None:
    assert answer_of([part(verdict) for verdict in verdicts]) == answer


@pytest.mark.parametrize("verdicts", [[], [Verdict.INFO], [Verdict.PASS, Verdict.WARN]])
def test_what_gives_no_answer_is_refused(verdicts: list[Verdict]) -> None:
    with pytest.raises(ValueError, match="expected PASS, ABSENT, INSUFFICIENT DATA, SKIP"):
        answer_of([part(verdict) for verdict in verdicts])


def test_an_interval_decides() -> None:
    assert [above(found(*at), 1.0, "r").verdict for at in ((1.1, 2), (0.5, 2), (0, 0.9))] == [
        Verdict.PASS,
        Verdict.INSUFFICIENT,
        Verdict.ABSENT,
    ]
    assert [below(found(*at), 1.0, "r").verdict for at in ((0, 0.9), (1.1, 2))] == [Verdict.PASS, Verdict.ABSENT]
    assert [within(found(*at), 1, 2, "r").verdict for at in ((1.1, 1.9), (0, 3), (2.1, 3), (0, 0.5))] == [
        Verdict.PASS,
        Verdict.INSUFFICIENT,
        Verdict.ABSENT,
        Verdict.ABSENT,
    ]
    unknown = above(found(math.nan, math.nan), 1.0, "r")
    assert (unknown.verdict, unknown.estimate, unknown.interval) == (Verdict.INSUFFICIENT, None, None)
    assert beside(found(1, 2), "r", unit="nat").verdict == Verdict.INFO


def test_every_deciding_part_keeps_its_threshold_and_an_identity_has_no_interval(tmp_path: Path) -> None:
    assert above(found(1, 2), 0.0, "r").threshold == 0.0 == below(found(1, 2), 0.0, "r").threshold
    banded = within(found(1.4, 1.6), 1.0, 3.0, "r", detail={"x": 1})
    assert banded.threshold == 1.0 and banded.detail == {"x": 1, "band": [1.0, 3.0]}
    exact = identity(above(found(2, 2), 1.0, "Both sides are equal."))
    assert (exact.interval, exact.n, exact.threshold, exact.verdict) == (None, 0, 1.0, Verdict.PASS)
    assert exact.reason == "Identity. Both sides are equal." and exact.detail == {"identity": "Identity"}


@pytest.mark.usefixtures("no_claims")
def test_claims_are_judged_kept_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "rise.json").write_text("[1.5, 2.5]")

    @published(**WORDS)
    def norms_rise(evidence: Measurements) -> list[Finding]:
        low, high = evidence.document("rise")
        return [above(found(low, high), 0.0, "It rose.", unit="norm", null="1", detail={"x": math.nan})]

    @published(**WORDS)
    def norms_fall(evidence: Measurements) -> list[Finding]:
        return [below(found(*evidence.document("fall")), 1.0, "It fell.")]

    untested("norms_jump", **WORDS, reason="It takes a trampoline.")
    answers = judge(CLAIMS.values(), Measurements(tmp_path))
    assert [one.answer for one in answers] == [Answer.REPRODUCED, Answer.UNTESTED, Answer.UNTESTED]
    assert answers[0].findings[0].claim == "norms_rise" and answers[0].findings[0].source == "note 002, section 1"
    assert answers[1].findings[0].reason == "nothing was measured under 'fall'."
    assert answers[2].findings[0].reason == "It takes a trampoline."
    write_answers(answers, tmp_path)
    again = stored_answers(tmp_path)
    assert again[0].findings[0].threshold == 0.0
    assert again[0].findings[0].interval == (1.5, 2.5) and again[0].findings[0].detail == {"x": None}
    assert [(one.name, one.answer, one.figure) for one in again] == [(a.name, a.answer, a.figure) for a in answers]


def test_every_stored_answer_keeps_the_threshold_of_what_decides() -> None:
    for one in stored_answers():
        for finding in one.findings:
            if finding.verdict in (Verdict.PASS, Verdict.ABSENT):
                assert finding.threshold is not None, one.name
            if finding.detail.get("identity"):
                assert finding.interval is None and not finding.n, one.name


@pytest.mark.usefixtures("no_claims")
def test_what_was_not_measured_this_time_keeps_its_answer(tmp_path: Path) -> None:
    @published(**WORDS)
    def norms_rise(evidence: Measurements) -> list[Finding]:
        return [above(found(*evidence.document("rise")), 1.0, "It rose.")]

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "rise.json").write_text("[2, 3]")
    (tmp_path / "empty").mkdir()
    for folder in ("full", "empty"):
        assert main([str(tmp_path / folder), "--out", str(tmp_path), "--note", "002"]) == 0
        assert stored_answers(tmp_path)[0].answer == Answer.REPRODUCED
    (tmp_path / "full" / "rise.json").write_text("[0, 0.5]")
    assert main([str(tmp_path / "full"), "--out", str(tmp_path)]) == 0
    assert stored_answers(tmp_path)[0].answer == Answer.REFUTED
    standing = stored_answers(tmp_path)
    CLAIMS.clear()
    assert merged([], standing) == []


def test_a_folder_gives_runs_tables_and_documents_or_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = Measurements(tmp_path)
    for name in ("arm-1", "arm-0"):
        (tmp_path / name).mkdir()
    polars.DataFrame({"a": [1]}).write_csv(tmp_path / "one.csv")
    polars.DataFrame({"a": [2]}).write_parquet(tmp_path / "two.parquet")
    (tmp_path / "broken.json").write_text("{")
    assert [path.name for path in evidence.runs("arm-*")] == ["arm-0", "arm-1"]
    assert evidence.run("arm-0") == tmp_path / "arm-0"
    assert [evidence.table(name)["a"].to_list() for name in ("one", "two")] == [[1], [2]]
    for ask in (evidence.run, evidence.runs, evidence.table, evidence.document):
        with pytest.raises(NotMeasured, match="'absent'"):
            ask("absent")
    with pytest.raises(InputRejected, match="expected JSON"):
        evidence.document("broken")
    assert main([str(tmp_path / "absent")]) == 3
    assert "expected a folder of measurements" in capsys.readouterr().err


@pytest.mark.usefixtures("no_claims")
def test_a_claim_is_registered_once_under_a_known_note_and_judged_or_not_for_a_reason() -> None:
    untested("norms_jump", **WORDS, reason="It takes a trampoline.")
    with pytest.raises(ValueError, match="registered twice"):
        untested("norms_jump", **WORDS, reason="It takes a trampoline.")
    with pytest.raises(ValueError, match="note '999' is unknown"):
        untested("norms_sing", **WORDS | {"note": "999"}, reason="They do not.")
    with pytest.raises(ValueError, match="or why there is none"):
        untested("norms_dance", **WORDS, reason="")


def test_answers_of_another_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "002.json").write_text(json.dumps({"schema": "heedful.report/1", "claims": []}))
    with pytest.raises(InputRejected, match=r"expected answers of schema heedful\.claims/1"):
        stored_answers(tmp_path)
