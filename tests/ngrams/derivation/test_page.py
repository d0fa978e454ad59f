"""The page on a derivation tells what its numbers leave open."""

from __future__ import annotations

from typing import Any

from heedful.ngrams.derivation.page import derivation_page


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
    reading = told(head(0, "", 418_646.7), head(1, "", 2.5), head(2, "", 128.4))[1]
    assert [row[1] for row in reading.rows] == ["4e5x off", "-150.0%", "128x off"]
    assert [row[2] for row in reading.rows] == ["75.0%"] * 3


def test_a_width_that_tokens_do_not_fit_is_warned_of() -> None:
    record = {"recipe": {"width": 256}, "embedding": None, "pairings": [], "heads": [head(0, "", 0.7)]}
    pages = [derivation_page({**record, "counts": {"tokens": 9, "vocabulary": size}}) for size in (256, 257, 1000)]
    fits, tight, large = (page.parts[1].text for page in pages)
    assert "Warning" not in fits and "257 tokens do not fit in a width of 256" in tight
    assert "projections read as little as 30.0% of a side: --set width=1024 would hold them all" in large
    record["heads"] = [head(0, "", 128.4)]
    wild = derivation_page({**record, "counts": {"tokens": 9, "vocabulary": 1000}}).parts[1].text
    assert "1,000 tokens do not fit in a width of 256: --set width=1024" in wild
    counts = {"tokens": 9, "vocabulary": 49_152}
    huge = derivation_page({**record, "counts": counts}).parts[1].text
    assert "--set width" not in huge  # a table of 12.9 GB
    assert "--set embedding=log_probability_factors derives embeddings from the counts" in huge
    record["recipe"]["embedding"] = "log_probability_factors"
    assert "--set embedding" not in derivation_page({**record, "counts": counts}).parts[1].text
