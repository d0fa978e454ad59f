import io

import pytest
from tests.comparison import comparisons
from tests.evaluation.page import factory

from heedful.comparison.page_lines import comparison_text, print_comparison
from heedful.reporting.paragraph import cells


def test_the_page_says_what_changed() -> None:
    page = " ".join(comparison_text(comparisons.comparison()).split())
    for said in (
        "ATTENTION COMPARISON ✗ REGRESSION",
        "First old: PASS",
        "Second new: WARN",
        "paired by document: 32 documents",
        "model: name: old -> new",
        "PASS -> WARN: own_text_matters The loss rises by less.",
        "1.00 -> 0.500 nat/token difference -0.500 95% [-0.700, -0.300] n = 32 paired adjusted p = 0.0030",
        "own_text_matters (layer 3)",
        "2 heads in both, 1 with another verdict or pattern",
        "L0H1: SHARP previous token -> WEAK",
        "largest change of effective keys: L0H1 +4.25",
        "largest change of previous mass: L0H1 -0.25",
        "heads with another verdict, by claim: previous_token 2 of 24",
        "✗ REGRESSION by --fail-on verdict - own_text_matters: PASS -> WARN",
        "3 of 3 differences are significant",
    ):
        assert said in page, said
    assert "largest change of sink mass" not in page


def test_a_quiet_comparison_says_so() -> None:
    quiet = comparisons.comparison(findings=[], regressions=[], context=[], heads=[])
    page = comparison_text(quiet)
    assert "✓ NO REGRESSION" in page and "nothing: same model facts" in page and "one is alone" in page
    assert "NOT JUDGED" in comparison_text(comparisons.comparison(fail_on=("never",)))


def test_layers_that_did_not_change_are_left_out() -> None:
    calm = comparisons.change(layer=3, after=comparisons.finding(), p_adjusted=0.5, regressions=())
    assert "LAYERS THAT CHANGED" not in comparison_text(comparisons.comparison(findings=[calm]))


def test_more_layers_than_a_page_holds_are_counted() -> None:
    many = [comparisons.change(layer=layer) for layer in range(30)]
    page = comparison_text(comparisons.comparison(findings=many))
    assert page.count("and 6 more: --json PATH") == 2


@pytest.mark.parametrize("token", factory.HOSTILE.values())
@pytest.mark.parametrize("columns", [40, 80])
def test_no_text_acts_and_no_line_is_too_wide(token: str, columns: int) -> None:
    text = comparison_text(comparisons.comparison(token), columns=columns)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert all(cells(line) <= columns for line in text.splitlines())


def test_ascii_streams_are_served() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_comparison(comparisons.comparison("\u6ce8"), stream)
    stream.flush()
    assert b"x REGRESSION" in stream.buffer.getvalue()  # type: ignore[attr-defined]
