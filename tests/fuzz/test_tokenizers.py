"""Tokenizers that hang, grow, crash or lie: refused or harmless, without a word of a panic."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.measured import measured
from tests.fuzz.tokenizers import hostile, use

pytestmark = pytest.mark.fault
CASES = {name: content for name, content in hostile() if len(content) < 2_000_000}
QUICK = [name for number, name in enumerate(CASES) if number % 6 == 0 or name.startswith("unigram word")]


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_tokenizer_is_refused_or_harmless(name: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(CASES[name])
    outcome = measured(lambda: use(tmp_path))
    assert outcome.sound(20, 1_000_000_000, (0, 3)), (name, outcome)


@pytest.mark.slow
def test_every_hostile_tokenizer(tmp_path: Path) -> None:
    for name, content in hostile():
        (tmp_path / "tokenizer.json").write_bytes(content)
        outcome = measured(lambda: use(tmp_path))
        assert outcome.sound(20, 1_000_000_000, (0, 3)), (name, outcome)
