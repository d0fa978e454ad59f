"""Write a comparison as JUnit XML: one test case for each compared claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from heedful.comparison.page_lines import numbers, outcome, subject
from heedful.comparison.record import DEFINITION_CHANGED
from heedful.evaluation.page.junit import add_outcome, set_counts, visible_lines, xml_document
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison, FindingChange


def comparison_junit(comparison: Comparison) -> bytes:
    """Return JUnit XML with one test case per claim; a broken rule of ``--fail-on`` is a failure.

    Args:
        comparison: What to write.
    """
    root = ElementTree.Element("testsuites", name="heedful compare")
    suite = ElementTree.SubElement(root, "testsuite", name=visible(f"{comparison.names[0]} -> {comparison.names[1]}"))
    for change in comparison.findings:
        _change(suite, change, comparison.fail_on)
    messages = [one for one in comparison.regressions if one.startswith("effect: could not be judged")]
    for one in messages:
        case = ElementTree.SubElement(suite, "testcase", classname="heedful.compare", name="effect", time="0")
        add_outcome(case, "failure", "not judged", one)
    _property(suite, "result", outcome(comparison)[1])
    set_counts(suite)
    set_counts(root)
    return xml_document(root)


def _change(suite: ElementTree.Element, change: FindingChange, rules: Sequence[str]) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname="heedful.compare", name=visible(subject(change)), time="0"
    )
    before, after = change.verdicts
    message = f"{before} -> {after}; {'; '.join(numbers(change))}"
    broken = [rule for rule in change.regressions if rule in rules]
    if broken:
        reason = f"; {change.after.reason}" if change.after is not None else ""
        add_outcome(case, "failure", f"regression: {', '.join(broken)}", message + reason)
    elif change.redefined:
        add_outcome(case, "skipped", DEFINITION_CHANGED, message)
    elif change.before is None or change.after is None:
        add_outcome(case, "skipped", "not in both reports", message)
    else:
        ElementTree.SubElement(case, "system-out").text = visible_lines(message)


def _property(suite: ElementTree.Element, name: str, value: str) -> None:
    properties = ElementTree.Element("properties")
    ElementTree.SubElement(properties, "property", name=name, value=visible(value))
    suite.insert(0, properties)
