"""Write checks as JUnit XML, the format in which CI services list tests: one test case per check.

Render a report as Markdown for a CI job summary: verdict, claims, conclusion, with all text escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from heedful.reporting.escape import visible
from heedful.reporting.quantity import count, interval, quantity

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


MARKDOWN_HEAD = "<!-- heedful.report/1 -->"
"""First line, by which an earlier summary is known as heedful's own."""
EMOJI = {"PASS": "\u2705", "FAIL": "\u274c", "ERROR": "\u274c", "WARN": "\u26a0\ufe0f", "ABSENT": "\u26aa"}
_ACTING = {character: f"&#{ord(character)};" for character in "&<>`*_[]|\\~@#!$^{}"}
_ACTING |= {"://": "&#58;//", "www.": "www&#46;"}
_LONGEST = 400


def markdown(report: Report) -> str:
    """Return the report as GitHub-flavoured Markdown.

    Args:
        report: What to show.

    Returns:
        A heading, a table with one row a claim of the model, what was not measured, and the conclusion.
    """
    findings = [one for section in report.sections for one in section.findings if one.head is None]
    whole = [one for one in findings if one.layer is None]
    broken = [one for one in findings if one.layer is not None and one.verdict in ("FAIL", "ERROR")]
    lines = [
        MARKDOWN_HEAD,
        f"## {emoji(report.verdict)} Attention of {cell(report.model.get('name') or 'the model')}: {report.verdict}",
        "",
        ", ".join(_facts(report)) + ".",
        "",
        *table(("", "claim", "verdict", "estimate", "95% interval", "n"), (_row(one) for one in whole)),
    ]
    for title, texts in (
        ("Not passed", [f"{cell(one.claim)}: {cell(one.reason)}" for one in whole if one.verdict in ("FAIL", "WARN")]),
        ("Layers", [f"{cell(one.claim)}, layer {one.layer}: {cell(one.reason)}" for one in broken]),
        ("Not measured", [f"{cell(gap.get('what'))}: {cell(gap.get('why'))}" for gap in report.not_measured]),
    ):
        lines += folded(title, texts)
    conclusion = report.summary.get("conclusion")
    return "\n".join([*lines, *(["", cell(conclusion)] if conclusion else [])]) + "\n"


def cell(value: object) -> str:
    """Escape any text into one Markdown line without links, tags, table cells or mentions."""
    text = visible(value)
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "\u2026"
    shown = "".join(_ACTING.get(character, character) for character in text)
    for word in ("://", "www."):
        shown = shown.replace(word, _ACTING[word])
    return shown


def emoji(verdict: object) -> str:
    """Return the emoji of a verdict."""
    return EMOJI.get(str(verdict), "\u2796")


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; its cells must already be escaped."""
    return [_cells(heading), _cells(["---"] * len(heading)), *(_cells(row) for row in rows)]


def folded(title: str, texts: Sequence[str]) -> list[str]:
    """Return the Markdown lines of a collapsible list of ``texts`` with a title; an empty list if there are no
    texts.
    """
    if not texts:
        return []
    return [
        "",
        f"<details><summary>{title}: {len(texts)}</summary>",
        "",
        *(f"- {text}" for text in texts),
        "",
        "</details>",
    ]


def _cells(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"


def _row(one: Finding) -> tuple[str, ...]:
    estimate = "" if one.estimate is None else cell(quantity(one.estimate, one.unit))
    bounds = "" if one.interval is None else interval(one.interval).removeprefix("95% ")
    return (emoji(one.verdict), cell(one.claim), str(one.verdict), estimate, cell(bounds), str(one.n) if one.n else "")


def _facts(report: Report) -> list[str]:
    model, data = report.model, report.data
    found = [(model, name) for name in ("layers", "heads", "parameters")]
    found += [(data, name) for name in ("documents", "sequences", "tokens")]
    facts = [count(values[name], name[:-1]) for values, name in found if isinstance(values.get(name), int)]
    preset = report.settings.get("preset")
    return [*facts, *([f"preset {cell(preset)}"] if preset else [])] or ["no facts about the model"]
