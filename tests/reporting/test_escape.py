import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.page import factory

from heedful.reporting.escape import LONGEST, encodable, encoded, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 0.5!", "plain text, 0.5!"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("a\x00b", "a\\x00b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("a\ud800b", "a\\ud800b"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("a\xa0b", "a\\xa0b"),
        ("\u3164", "\\u3164"),
        ("\u6ce8\u610f \u2113\u2080 \u0120the", "\u6ce8\u610f \u2113\u2080 \u0120the"),
        (7, "7"),
    ],
)
def test_acting_characters_are_shown(text: object, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(), max_size=60))
def test_nothing_acts_and_everything_encodes(text: str) -> None:
    shown = visible(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in shown)
    shown.encode("utf-8")
    assert visible(text, "ascii").isascii()
    visible(text, "latin-1").encode("latin-1")


@pytest.mark.parametrize("name", sorted(factory.HOSTILE))
def test_hostile_names_stay_on_one_printable_line(name: str) -> None:
    shown = visible(factory.HOSTILE[name])
    assert shown.isprintable()
    assert shown.splitlines() == [shown]


def test_a_lone_surrogate_is_written_out() -> None:
    assert encoded("a\udc80b \u6ce8") == "a\\udc80b \u6ce8"


def test_a_long_text_is_cut_and_counted() -> None:
    shown = visible("x" * (LONGEST + 5))
    assert shown == "x" * LONGEST + " [and 5 more characters]"


def test_what_an_encoding_lacks_is_written_plainly() -> None:
    assert encodable("n \u2265 4 \u2026", "ascii") == "n >= 4 ..."
    assert encodable("\u2113", "ascii") == "\\u2113"
    assert encodable("\u2265", "no such encoding") == ">="
    assert encodable("\u2265", "utf-8") == "\u2265"
