from xml.etree import ElementTree

import pytest
from tests.comparison import comparisons
from tests.evaluation.page import factory

from heedful.comparison.page_junit import comparison_junit


def cases(data: bytes) -> dict[str, ElementTree.Element]:
    return {str(case.get("name")): case for case in ElementTree.fromstring(data).iter("testcase")}


@pytest.mark.parametrize("token", [*factory.HOSTILE.values(), "\ufffe\uffff", "]]>", "&amp;", "a\nb"])
def test_every_text_is_well_formed(token: str) -> None:
    assert len(cases(comparison_junit(comparisons.comparison(token)))) == 4


def test_regressions_that_were_asked_for_are_failures() -> None:
    found = cases(comparison_junit(comparisons.comparison()))
    failure = found["own_text_matters"][0]
    assert (failure.tag, failure.get("type")) == ("failure", "regression: verdict")
    assert "PASS -> WARN" in (failure.text or "") and "[-0.700, -0.300]" in (failure.text or "")
    assert found["extra"][0].tag == "failure"
    calm = cases(comparison_junit(comparisons.comparison(fail_on=("never",))))
    assert [case[0].tag for case in calm.values()] == ["system-out", "system-out", "skipped", "system-out"]


def test_a_rule_that_could_not_be_judged_is_a_failure_of_its_own() -> None:
    message = "effect: could not be judged: not paired"
    found = cases(comparison_junit(comparisons.comparison(regressions=[message], fail_on=("effect",))))
    assert (found["effect"][0].tag, found["effect"][0].text) == ("failure", message)
