from __future__ import annotations

from tests.comparison.reports import NAMES, report

from heedful.comparison.pairing import pair_documents


def test_documents_are_paired_by_name_and_not_by_place() -> None:
    found = pair_documents(report(), report(names=NAMES[::-1]))
    assert found.enough
    assert found.before == tuple(range(32))
    assert found.after == tuple(range(31, -1, -1))
    assert found.sentence == "paired by document: 32 documents are in both reports (32 and 32)"


def test_the_shared_ones_alone_are_paired() -> None:
    found = pair_documents(report(), report(names=NAMES[10:]))
    assert (found.before, found.after) == (tuple(range(10, 32)), tuple(range(22)))


def test_copies_are_paired_in_their_order() -> None:
    found = pair_documents(report(names=["a", "a", "b"]), report(names=["b", "a", "a", "a"]))
    assert (found.before, found.after) == ((0, 1, 2), (1, 2, 0))


def test_too_few_shared_documents_are_not_paired_and_counted() -> None:
    found = pair_documents(report(), report(names=NAMES[17:]))
    assert not found.enough
    assert "15 documents are in both reports (32 and 15), at least 16 are needed" in found.sentence


def test_an_older_report_says_that_it_names_no_documents() -> None:
    assert "not paired: the second report lacks" in pair_documents(report(), report(names=None)).sentence
    assert "not paired: the first report lacks" in pair_documents(report(names=None), report()).sentence
    assert "not paired: both reports lack" in pair_documents(report(names=None), report(names=None)).sentence
