from __future__ import annotations

import pytest

from heedful.commandline.help import spread


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("validate M --text a.txt b.txt --seed 1", "validate M --text a.txt --text b.txt --seed 1"),
        ("validate --text a.txt M", "validate --text a.txt M"),
        ("validate --text a.txt b.jsonl M", "validate --text a.txt --text b.jsonl M"),
        (
            "validate --require local_bias induction --seed 1",
            "validate --require local_bias --require induction --seed 1",
        ),
        ("validate --require local_bias ./model", "validate --require local_bias ./model"),
        ("validate --text a.txt -- b.txt", "validate --text a.txt -- b.txt"),
        ("heads M --out x.csv", "heads M --out x.csv"),
    ],
)
def test_every_value_gets_a_flag_of_its_own(words: str, meant: str) -> None:
    assert spread(words.split()) == meant.split()
