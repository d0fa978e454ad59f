"""One name everywhere: registering, and what is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from heedful.attention.registry import STATISTICS, statistic
from heedful.evaluation.registry import CHECKS, PRESETS, SECTION_TITLES, check


@pytest.fixture
def _clean() -> Iterator[None]:
    statistics, checks = dict(STATISTICS), dict(CHECKS)
    yield
    for registry, before in ((STATISTICS, statistics), (CHECKS, checks)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_clean")
def test_a_statistic_registers_under_its_own_name() -> None:
    @statistic(needs=("entropy",), unit="nat", bounds=(0.0, 1.0), source="a paper")
    def made_up(moments: Any) -> Any:
        return moments

    facts = STATISTICS["made_up"]
    assert (facts.name, facts.compute, facts.needs) == ("made_up", made_up, ("entropy",))
    assert (facts.unit, facts.bounds, facts.source) == ("nat", (0.0, 1.0), "a paper")
    assert made_up(3) == 3
    with pytest.raises(ValueError, match="'made_up' is registered twice"):
        statistic(needs=(), unit="", bounds=(0.0, 1.0), source="")(made_up)


@pytest.mark.usefixtures("_clean")
def test_a_check_registers_under_its_own_name() -> None:
    def claim(study: Any) -> Any:
        return study

    assert check(section=3, source="a paper")(claim) is claim
    facts = CHECKS["claim"]
    assert (facts.judge, facts.section, facts.preset, facts.source) == (claim, 3, "quick", "a paper")
    with pytest.raises(ValueError, match="registered twice"):
        check(section=3, source="")(claim)


@pytest.mark.usefixtures("_clean")
@pytest.mark.parametrize("wrong", [{"section": 10}, {"section": 1, "preset": "slow"}])
def test_a_check_of_no_section_or_preset(wrong: dict[str, Any]) -> None:
    def claim(study: Any) -> Any:
        return study

    with pytest.raises(ValueError, match=r"section .* or preset .* is unknown"):
        check(source="", **wrong)(claim)
    assert "claim" not in CHECKS


def test_nine_sections_three_presets() -> None:
    assert list(SECTION_TITLES) == list(range(1, 10)) and PRESETS == ("quick", "standard", "full")
