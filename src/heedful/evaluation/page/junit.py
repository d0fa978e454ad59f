"""Write checks as JUnit XML, the format in which CI services list tests: one test case per check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, Report

JUNIT_HEAD = b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"heedful"
"""How a file begins that heedful wrote, by which an earlier one is known."""

FAILED = ("FAIL",)
BROKEN = ("ERROR",)
NOT_JUDGED = ("SKIP", "UNDEFINED", "INSUFFICIENT DATA")


def junit(report: Report) -> bytes:
    r"""Return JUnit XML with one test suite per section and one test case per claim.

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
        set_counts(suite)
    set_counts(root)
    return xml_document(root)


def _claim(suite: ElementTree.Element, classname: str, claim: str, findings: Sequence[Finding]) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=visible(classname), name=visible(claim), time="0")
    whole = [one for one in findings if one.layer is None and one.head is None] or list(findings[:1])
    layers = [one for one in findings if one.layer is not None and one.head is None]
    for tag, verdicts in (("failure", FAILED), ("error", BROKEN)):
        hit = [one for one in (*whole, *layers) if one.verdict in verdicts]
        if hit:
            add_outcome(case, tag, str(hit[0].verdict), "\n".join(_description(one) for one in hit))
            return
    if whole[0].verdict in NOT_JUDGED:
        add_outcome(case, "skipped", str(whole[0].verdict), _description(whole[0]))
        return
    ElementTree.SubElement(case, "system-out").text = "\n".join(visible_lines(_description(one)) for one in whole)


def _description(one: Finding) -> str:
    place = "" if one.layer is None else f"layer {one.layer}: "
    return f"{place}{one.verdict}: {one.reason}"


def add_outcome(case: ElementTree.Element, tag: str, what: str, message: str) -> None:
    """Add the element ``failure``, ``error`` or ``skipped`` with its message to a test case.

    Args:
        case: The test case.
        tag: ``failure``, ``error`` or ``skipped``.
        what: Its kind, in a word.
        message: Why; the first line is the message.
    """
    first = message.splitlines()[0] if message else what
    ElementTree.SubElement(case, tag, message=visible(first), type=visible(what)).text = visible_lines(message)


def visible_lines(text: str) -> str:
    """Return the text with control characters made visible, except line breaks."""
    return "\n".join(visible(row) for row in text.split("\n"))


def set_counts(element: ElementTree.Element) -> None:
    """Set the attributes that count tests, failures, errors and skips in a suite or in the root."""
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(1 for _ in element.iter(tag))))


def xml_document(root: ElementTree.Element) -> bytes:
    """Serialise the tree as indented XML with a declaration, ending with a newline."""
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"
