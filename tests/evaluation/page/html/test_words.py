"""Unit and reading of a statistic, also of one that another package registers."""

import pytest

from heedful.attention.registry import STATISTICS, StatisticFacts
from heedful.evaluation.page.html.words import words_of


def test_a_statistic_of_a_plugin_has_its_unit_and_the_first_line_of_its_docstring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def doubled(rows: object) -> object:
        """Twice the largest weight.

        More of it.
        """
        return rows

    facts = StatisticFacts("doubled", doubled, ("max_weight",), "share", (0.0, 2.0), "this test")
    monkeypatch.setitem(STATISTICS, "doubled", facts)
    assert words_of("doubled") == ("share", "Twice the largest weight")
    assert words_of("self_mass")[0] == "mass" and words_of("of_no_package_here") == ("", "")
