"""Render a report as Markdown for a CI job summary: verdict, claims, conclusion, with all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from heedful.reporting.escape import visible
from heedful.reporting.quantity import count, interval, quantity

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, Report

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
