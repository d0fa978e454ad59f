"""The page in a terminal: numbers flush right, words flush left."""

from heedful.reporting.pages.html import page_text
from heedful.reporting.pages.part import Page, PagePart


def test_words_of_a_table_stand_flush_left_and_numbers_flush_right() -> None:
    rows = [("a", "kurtosis", "+0.57"), ("bc", "KL", "1.0"), ("d", "output", "<.0001")]
    page = Page(title="T", subject="s", parts=[PagePart(title="P", header=("under", "tails", "p"), rows=rows, text="")])
    lines = page_text(page).splitlines()
    assert [one for one in lines if "kurtosis" in one or "KL" in one or "output" in one or "tails" in one] == [
        "under  tails          p",
        "a      kurtosis   +0.57",
        "bc     KL           1.0",
        "d      output    <.0001",
    ]
