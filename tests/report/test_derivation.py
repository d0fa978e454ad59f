"""The page on a derivation tells what its numbers leave open."""

from __future__ import annotations

from typing import Any

from heedful.report.derivation import derivation_page


def head(number: int, note: str, lost: float) -> dict[str, Any]:
    facts = {
        "asked": 2, "rank": 2, "singular_values": [1.0, 1.0], "condition": 1.0, "energy": 0.1, "residual": 1e-9,
        "note": note,
    }  # fmt: skip
    return {
        "layer": 0, "head": number, "n": 1, "skip": number, "queries_and_keys": facts, "values": None,
        "unread": {"queries": lost, "keys": 0.25}, "output_directions": 2,
    }  # fmt: skip


def told(*heads: dict[str, Any]) -> list[Any]:
    record = {"recipe": {}, "embedding": None, "counts": {"tokens": 9}, "pairings": [], "heads": list(heads)}
    return list(derivation_page(record).parts)


def test_components_that_are_not_separated_are_named_by_head() -> None:
    queries = told(head(0, "one", 0.0), head(1, "", 0.0), head(2, "one", 0.0), head(3, "other", 0.0))[0]
    assert "Not separated in L0H0, L0H2: one. Not separated in L0H3: other." in queries.text
    assert "Not separated" not in told(head(0, "", 0.0))[0].text


def test_what_is_many_times_too_large_is_told_by_its_order() -> None:
    reading = told(head(0, "", 418_646.7), head(1, "", 2.5))[1]
    assert [row[1:3] for row in reading.rows] == [("-4e+07%", "75.0%"), ("-150.0%", "75.0%")]
