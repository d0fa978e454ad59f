"""Convert a report to strict JSON with the schema ``heedful.report/1``.

The text is pure ASCII, with ``<``, ``>`` and ``&`` escaped: no token in it can act in a terminal or in a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heedful.reporting.escape import encoded
from heedful.reporting.json_values import document_text, json_value

if TYPE_CHECKING:
    from heedful.evaluation.result import Cards, Finding, HeadCard, HeadRow, Report, Section, Strongest

SCHEMA = "heedful.report/1"
NOT_FINITE = "not finite"
_PLAIN_FIELDS = ("model", "data", "settings", "versions")
_CARDS_FIELDS = ("document", "length", "tokens", "distances")
_CARD_FIELDS = ("layer", "head", "distance", "uniform", "untrained", "keys_are_tokens")


def to_document(report: Report) -> dict[str, Any]:
    """Return the report as a JSON-compatible dict; only ``run`` differs between two equal runs.

    ``cards`` is there only where the report has them.

    A number that is not finite becomes null; a finding or head without a reason then says ``not finite``, and
    ``summary.non_finite`` lists the path of each.

    Args:
        report: What to write.

    Returns:
        A dict that ``json.dumps(..., allow_nan=False)`` takes.
    """
    lost: list[str] = []
    document: dict[str, Any] = {"schema": SCHEMA, "verdict": str(report.verdict)}
    for name in _PLAIN_FIELDS:
        document[name] = json_value(getattr(report, name), f"$.{name}", lost)
    document["sections"] = [_section(one, f"$.sections[{i}]", lost) for i, one in enumerate(report.sections)]
    document["heads"] = [_head(one, f"$.heads[{i}]", lost) for i, one in enumerate(report.heads)]
    document["not_measured"] = json_value(report.not_measured, "$.not_measured", lost)
    document["summary"] = json_value(report.summary, "$.summary", lost)
    earlier = document["summary"].get("non_finite", [])
    document["summary"]["non_finite"] = list(dict.fromkeys([*earlier, *lost]))
    document["summary"] = dict(sorted(document["summary"].items()))
    document["run"] = json_value(report.run, "$.run", [])
    if report.cards is not None:
        document["cards"] = _cards(report.cards)
    return document


def to_json(report: Report) -> str:
    """Return the report as JSON text that ends with a newline."""
    return document_text(to_document(report))


def head_documents(heads: Sequence[HeadRow]) -> list[dict[str, Any]]:
    """Return the rows of the head table as JSON-compatible dicts, as in a report."""
    return [_head(row, f"$[{index}]", []) for index, row in enumerate(heads)]


def _section(section: Section, path: str, lost: list[str]) -> dict[str, Any]:
    findings = [_finding(one, f"{path}.findings[{i}]", lost) for i, one in enumerate(section.findings)]
    return {"number": section.number, "title": encoded(section.title), "findings": findings}


def _finding(finding: Finding, path: str, lost: list[str]) -> dict[str, Any]:
    names = (
        *("claim", "verdict", "estimate", "interval", "unit", "n", "null", "p", "p_adjusted", "threshold", "source"),
        *("layer", "head", "reason", "detail"),
    )
    document = _record(finding, names, path, lost)
    if finding.units is not None:
        document["units"] = json_value(finding.units, f"{path}.units", lost)
    if finding.definition != 1:
        document["definition"] = finding.definition
    if finding.meaning:
        document["meaning"] = encoded(finding.meaning)
    return document


def _head(head: HeadRow, path: str, lost: list[str]) -> dict[str, Any]:
    names = ("layer", "module", "head", "label", "verdict", "pattern", "statistics", "reason")
    return _record(head, names, path, lost)


def _cards(cards: Cards) -> dict[str, Any]:
    """Cards of heads; a bound that is not finite is null."""
    document = {name: json_value(getattr(cards, name), "$.cards", []) for name in _CARDS_FIELDS}
    return {**document, "heads": [_card(card) for card in cards.heads]}


def _card(card: HeadCard) -> dict[str, Any]:
    document = {name: json_value(getattr(card, name), "$.cards", []) for name in _CARD_FIELDS}
    picture, received = card.picture, card.received
    document["picture"] = None if picture is None else json_value(vars(picture), "$.cards", [])
    document["received"] = None if received is None else _strongest(received)
    document["strongest"] = [_strongest(one) for one in card.strongest]
    return document


def _strongest(one: Strongest) -> dict[str, Any]:
    return {name: json_value(getattr(one, name), "$.cards", []) for name in ("query", "keys", "weights")}


def _record(record: object, names: Sequence[str], path: str, lost: list[str]) -> dict[str, Any]:
    mine: list[str] = []
    document = {name: json_value(getattr(record, name), f"{path}.{name}", mine) for name in names}
    if mine and not document["reason"]:
        document["reason"] = NOT_FINITE
    lost.extend(mine)
    return document
