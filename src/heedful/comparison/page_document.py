"""Convert a comparison to strict JSON, schema ``heedful.comparison/1``.

Render a comparison as one HTML page without scripts or external files.

Write a comparison as JUnit XML: one test case for each compared claim.

Render a comparison as Markdown for a CI job summary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from heedful.comparison.page_lines import head_name, head_words, numbers, outcome, significant, subject
from heedful.comparison.record import DEFINITION_CHANGED
from heedful.evaluation.page.junit import (
    MARKDOWN_HEAD,
    add_outcome,
    cell,
    emoji,
    folded,
    set_counts,
    table,
    visible_lines,
    xml_document,
)
from heedful.reporting.escape import visible
from heedful.reporting.json_values import document_text, json_value
from heedful.reporting.pages.html import sealed_page, setting_rows
from heedful.reporting.quantity import count, interval, number, probability

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison, FindingChange, HeadChange


COMPARISON_SCHEMA = "heedful.comparison/1"
_FIELDS = (
    *("difference", "interval", "unit", "n", "paired", "p", "p_adjusted", "margin", "reason", "regressions"),
    *("within", "p_equivalent", "equivalence"),
)


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as a JSON-compatible dict; non-finite numbers become null."""
    lost: list[str] = []
    document = {
        "schema": COMPARISON_SCHEMA,
        "failed": comparison.failed,
        "fail_on": comparison.fail_on,
        "regressions": comparison.regressions,
        "names": comparison.names,
        "verdicts": comparison.verdicts,
        "pairing": comparison.pairing,
        "context": [{"what": what, "before": one, "after": two} for what, one, two in comparison.context],
        "findings": [_finding(one) for one in comparison.findings],
        "head_verdicts": {
            claim: {"changed": few, "heads": all_} for claim, (few, all_) in comparison.head_verdicts.items()
        },
        "heads": [
            {
                "layer": head.layer,
                "module": head.module,
                "head": head.head,
                "label": head.label,
                "verdicts": head.verdicts,
                "patterns": head.patterns,
                "differences": head.differences,
            }
            for head in comparison.heads
        ],
        "heads_reason": comparison.heads_reason,
        "settings": comparison.settings,
    }
    return {name: json_value(value, f"$.{name}", lost) for name, value in document.items()}


def comparison_json(comparison: Comparison) -> str:
    """Return the comparison as JSON text that ends with a newline."""
    return document_text(comparison_document(comparison))


def _finding(change: FindingChange) -> dict[str, Any]:
    before, after = change.before, change.after
    return {
        "claim": change.claim,
        "section": change.section,
        "layer": change.layer,
        "verdicts": [None if one is None else str(one.verdict) for one in (before, after)],
        "estimates": [None if one is None else one.estimate for one in (before, after)],
        "definition_changed": change.redefined,
        **{name: getattr(change, name) for name in _FIELDS},
    }


STATISTICS = ("effective_keys", "sink_mass", "previous_mass")


def comparison_html(comparison: Comparison) -> str:
    """Return the comparison as one HTML page.

    Every text of the reports is escaped, control characters are shown, and the content security policy allows the one
    style sheet by its digest and nothing else.

    Args:
        comparison: What to show.
    """
    verdict, word = outcome(comparison)
    return sealed_page(
        "comparison",
        verdict=verdict,
        word=word,
        names=[visible(name) for name in comparison.names],
        verdicts=comparison.verdicts,
        pairing=visible(comparison.pairing),
        rules=", ".join(comparison.fail_on),
        regressions=[visible(message) for message in comparison.regressions],
        context=[[visible(text) for text in row] for row in comparison.context],
        findings=[_html_finding(one) for one in comparison.findings],
        heads_line=_heads_line(comparison),
        statistics=[f"change of {name.replace('_', ' ')}" for name in STATISTICS],
        heads=[_head(head) for head in comparison.heads],
        settings=[(visible(name), visible(value)) for name, value in setting_rows(comparison.settings)],
    )


def _html_finding(one: FindingChange) -> dict[str, Any]:
    before, after = one.verdicts
    return {
        "subject": visible(subject(one)),
        "verdict": after,
        "verdicts": after if before == after else f"{before} -> {after}",
        "numbers": visible("; ".join(numbers(one))),
        "reason": visible(one.after.reason) if one.changed and one.after is not None else "",
        "marked": one.changed or significant(one),
    }


def _head(head: HeadChange) -> dict[str, Any]:
    known = [head.differences.get(name, math.nan) for name in STATISTICS]
    return {
        "name": visible(head_name(head)),
        "module": visible(head.module),
        "words": visible(
            head_words(head) if head.changed else " ".join(filter(None, (head.verdicts[1], head.patterns[1])))
        ),
        "numbers": [f"{value:+.3g}" if math.isfinite(value) else "-" for value in known],
    }


def _heads_line(comparison: Comparison) -> str:
    changed = sum(head.changed for head in comparison.heads)
    message = f"{count(len(comparison.heads), 'head')} in both reports, {changed} with another verdict or pattern."
    return visible(f"{message} {comparison.heads_reason}".strip())


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


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as GitHub-flavoured Markdown; unchanged claims are collapsed.

    Args:
        comparison: What to show.
    """
    verdict, word = outcome(comparison)
    first, second = (cell(name) for name in comparison.names)
    lines = [
        MARKDOWN_HEAD,
        f"## {emoji(verdict)} Attention compared: {word.lower()}",
        "",
        f"{first} ({comparison.verdicts[0]}) then {second} ({comparison.verdicts[1]}); {cell(comparison.pairing)}.",
        *(
            ["", *(f"- **regression** {cell(message)}" for message in comparison.regressions)]
            if comparison.regressions
            else []
        ),
    ]
    moved = [one for one in comparison.findings if one.changed or (significant(one) and one.layer is None)]
    if moved:
        heading = ("", "claim", "verdict", "first", "second", "difference", "95% interval", "")
        lines += ["", *table(heading, (_row(one) for one in moved))]
    else:
        lines += ["", "No verdict changed and no difference is more than chance."]
    changed = [f"{cell(head_name(head))}: {cell(head_words(head))}" for head in comparison.heads if head.changed]
    differing = [f"{cell(what)}: {cell(one)} to {cell(two)}" for what, one, two in comparison.context]
    lines += [*folded("Heads that changed", changed), *folded("What differs besides the results", differing)]
    return "\n".join(lines) + "\n"


def _row(one: FindingChange) -> tuple[str, ...]:
    before, after = one.verdicts
    estimates = ["" if found is None else cell(number(found.estimate)) for found in (one.before, one.after)]
    difference = "" if one.difference is None else cell(f"{number(one.difference)} {one.unit}".strip())
    bounds = "" if one.interval is None else cell(interval(one.interval).removeprefix("95% "))
    sure = "" if one.p_adjusted is None else cell(probability("adjusted p", one.p_adjusted))
    paired = "paired" if one.paired else "not paired" if one.interval is not None else ""
    message = after if before == after else f"{before} to {after}"
    message = f"{message} ({DEFINITION_CHANGED.lower()})" if one.redefined else message
    return (
        emoji(after),
        cell(subject(one)),
        message,
        *estimates,
        difference,
        bounds,
        ", ".join(part for part in (sure, paired) if part),
    )
