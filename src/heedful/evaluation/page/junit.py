"""Checks as JUnit XML, the form in which CI services list tests: one test case a check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from heedful.comparison.page_lines import numbers, outcome, subject
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison, FindingChange
    from heedful.evaluation.result import Finding, Report

JUNIT_HEAD = b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"heedful"
"""How a file begins that heedful wrote, by which an earlier one is known."""

FAILED = ("FAIL",)
BROKEN = ("ERROR",)
NOT_JUDGED = ("SKIP", "UNDEFINED", "INSUFFICIENT DATA")


def junit(report: Report) -> bytes:
    r"""One test suite a section, one test case a claim.

    FAIL is a failure and ERROR an error, of the model or of any layer; SKIP, UNDEFINED and INSUFFICIENT DATA are
    skipped with their reason. WARN, ABSENT and INFO are no failure of the report and none here: their reason stands in
    the case's output.

    Args:
        report: What to write.

    Returns:
        The XML document. Characters that XML forbids are written as the escape that shows them (``\x1b``).
    """
    root = ElementTree.Element("testsuites", name="heedful")
    seconds = report.run.get("seconds")
    if isinstance(seconds, float):
        root.set("time", f"{seconds:.3f}")
    for section in report.sections:
        suite = ElementTree.SubElement(root, "testsuite", name=visible(f"{section.number} {section.title}"))
        for claim in dict.fromkeys(one.claim for one in section.findings):
            group = [one for one in section.findings if one.claim == claim]
            _claim(suite, f"heedful.{section.number}_{section.title}", claim, group)
        _count(suite)
    _count(root)
    return _text(root)


def comparison_junit(comparison: Comparison) -> bytes:
    """One test case for each claim compared; a broken rule that was asked for is a failure.

    Args:
        comparison: What to write.
    """
    root = ElementTree.Element("testsuites", name="heedful compare")
    suite = ElementTree.SubElement(root, "testsuite", name=visible(f"{comparison.names[0]} -> {comparison.names[1]}"))
    for change in comparison.findings:
        _change(suite, change, comparison.fail_on)
    told = [one for one in comparison.regressions if one.startswith("effect: could not be judged")]
    for one in told:
        case = ElementTree.SubElement(suite, "testcase", classname="heedful.compare", name="effect", time="0")
        _outcome(case, "failure", "not judged", one)
    _property(suite, "result", outcome(comparison)[1])
    _count(suite)
    _count(root)
    return _text(root)


def _claim(suite: ElementTree.Element, classname: str, claim: str, findings: Sequence[Finding]) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=visible(classname), name=visible(claim), time="0")
    whole = [one for one in findings if one.layer is None and one.head is None] or list(findings[:1])
    layers = [one for one in findings if one.layer is not None and one.head is None]
    for tag, verdicts in (("failure", FAILED), ("error", BROKEN)):
        hit = [one for one in (*whole, *layers) if one.verdict in verdicts]
        if hit:
            _outcome(case, tag, str(hit[0].verdict), "\n".join(_told(one) for one in hit))
            return
    if whole[0].verdict in NOT_JUDGED:
        _outcome(case, "skipped", str(whole[0].verdict), _told(whole[0]))
        return
    ElementTree.SubElement(case, "system-out").text = "\n".join(_visible(_told(one)) for one in whole)


def _told(one: Finding) -> str:
    place = "" if one.layer is None else f"layer {one.layer}: "
    return f"{place}{one.verdict}: {one.reason}"


def _change(suite: ElementTree.Element, change: FindingChange, rules: Sequence[str]) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname="heedful.compare", name=visible(subject(change)), time="0"
    )
    before, after = change.verdicts
    told = f"{before} -> {after}; {'; '.join(numbers(change))}"
    broken = [rule for rule in change.regressions if rule in rules]
    if broken:
        reason = f"; {change.after.reason}" if change.after is not None else ""
        _outcome(case, "failure", f"regression: {', '.join(broken)}", told + reason)
    elif change.before is None or change.after is None:
        _outcome(case, "skipped", "not in both reports", told)
    else:
        ElementTree.SubElement(case, "system-out").text = _visible(told)


def _outcome(case: ElementTree.Element, tag: str, what: str, told: str) -> None:
    first = told.splitlines()[0] if told else what
    ElementTree.SubElement(case, tag, message=visible(first), type=visible(what)).text = _visible(told)


def _visible(text: str) -> str:
    return "\n".join(visible(row) for row in text.split("\n"))


def _property(suite: ElementTree.Element, name: str, value: str) -> None:
    properties = ElementTree.Element("properties")
    ElementTree.SubElement(properties, "property", name=name, value=visible(value))
    suite.insert(0, properties)


def _count(element: ElementTree.Element) -> None:
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(1 for _ in element.iter(tag))))


def _text(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"
