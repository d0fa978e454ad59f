import pytest

from heedful.inference.verdict import Verdict
from heedful.reporting.marks import VERDICTS, draws, ellipsis, mark, style


def test_every_verdict_has_a_mark() -> None:
    assert set(VERDICTS) == {str(verdict) for verdict in Verdict}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "no such encoding"])
def test_marks_are_ascii_where_the_encoding_lacks_them(encoding: str) -> None:
    assert not draws(encoding)
    assert all(mark(verdict, encoding).isascii() for verdict in VERDICTS)
    assert ellipsis(encoding) == "..."


def test_marks_are_drawn_in_utf8() -> None:
    assert draws("utf-8")
    assert mark("PASS", "utf-8") == "\u2713"
    assert mark("no such verdict", "utf-8") == "\u00b7"
    assert style("no such verdict") == ""
