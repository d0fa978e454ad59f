import pytest

from heedful.loading.wording import escaped, listed, reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("a\x1b[2J", "a\\x1b[2J"), ("a\nb", "a\\nb"), ("\u202e", "\\u202e"), ("\x9b31m", "\\x9b31m")],
)
def test_characters_that_act_are_written_out(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_long_names_are_cut() -> None:
    assert escaped("x" * 500, 10) == "x" * 10 + "..."


def test_ten_names_are_listed_and_the_rest_is_counted() -> None:
    message = listed(f"k{i:02}" for i in range(25))
    assert message.startswith("k00, k01") and message.endswith("k09 and 15 more")


def test_a_foreign_error_is_one_line_without_codes_or_advice() -> None:
    error = RuntimeError("\x1b[1mdo not\x1b[0m pass weights_only=False\nthe file is broken\nmore")
    assert reason(error) == "the file is broken"


def test_an_error_of_advice_alone_is_named_by_its_type() -> None:
    assert reason(RuntimeError("set `weights_only` to False")) == "RuntimeError"
