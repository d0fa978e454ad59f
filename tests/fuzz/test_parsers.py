"""A few dozen broken files a parser; ``make fuzz`` tries as many as ten minutes a parser allow."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.parsers import PARSERS, check, run

pytestmark = pytest.mark.fault
FORKS = ("tokenizer",)


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_broken_files_are_refused_in_one_line(name: str) -> None:
    @settings(
        max_examples=6 if name in FORKS else 25, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**32 - 1))
    def tried(seed: int) -> None:
        run(name, random.Random(f"{name} {seed}"))

    tried()


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_seeds_are_what_the_parser_accepts(name: str) -> None:
    """A parser that refuses everything would never fail; the mark of one file too few is one that is refused."""
    parser = PARSERS[name]
    found = Counter(check(parser, content) for content in parser.seeds()[:2])
    assert found[0] or name == "mark", found
