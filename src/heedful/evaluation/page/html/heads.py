"""Prepare the data behind the head map and head cards of the HTML page as compact JSON, with control characters made
visible.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heedful.evaluation.page.html.picture import palette, picture_png
from heedful.evaluation.page.html.verdicts import badge
from heedful.evaluation.page.html.words import words_of
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.evaluation.cards import HeadCard, Strongest
    from heedful.evaluation.result import Finding, HeadRow, Report

DIGITS = 4
"""Significant digits of a number on the page."""

ABLATION = "learned_weights_matter"
"""The claim whose finding on a head is the cost of equal weights in its place."""

_ACTING = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\x7f": "\\u007f"}


def heads_json(report: Report) -> str:
    """Return the data behind the head map and head cards as ASCII JSON with ``<``, ``>`` and ``&`` escaped, safe
    inside HTML.
    """
    text = json.dumps(heads_data(report), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for acting, escaped in _ACTING.items():
        text = text.replace(acting, escaped)
    return text


def heads_data(report: Report) -> dict[str, Any]:
    """Return the data behind the head map and head cards as a JSON-compatible dict, with control characters made
    visible.
    """
    statistics = sorted({name for row in report.heads for name in row.statistics})
    by_head = _by_head(report)
    claims = {finding.claim: (finding.unit, finding.meaning) for found in by_head.values() for finding in found}
    cards = report.cards
    known = {(card.layer, card.head): card for card in cards.heads} if cards is not None else {}
    return {
        "statistics": [[visible(name), *map(visible, words_of(name))] for name in statistics],
        "claims": [[visible(name), visible(unit), visible(meaning)] for name, (unit, meaning) in claims.items()],
        "heads": [
            _head(
                row, statistics, list(claims), by_head.get((row.layer, row.head), []), known.get((row.layer, row.head))
            )
            for row in report.heads
        ],
        "document": None if cards is None else visible(cards.document),
        "length": None if cards is None else cards.length,
        "tokens": {} if cards is None else {str(place): visible(text) for place, text in cards.tokens.items()},
        "distances": [] if cards is None else [visible(name) for name in cards.distances],
        "ablation": ABLATION,
        "shades": _shades(),
    }


def _shades() -> list[str]:
    """The colours of the shades, from pale to dark."""
    colours = palette()
    return [f"#{colours[start : start + 3].hex()}" for start in range(3, len(colours), 3)]


def _by_head(report: Report) -> dict[tuple[int, int], list[Finding]]:
    found: dict[tuple[int, int], list[Finding]] = {}
    for section in report.sections:
        for finding in section.findings:
            if finding.layer is not None and finding.head is not None:
                found.setdefault((finding.layer, finding.head), []).append(finding)
    return found


def _head(
    row: HeadRow, statistics: Sequence[str], claims: Sequence[str], found: Sequence[Finding], card: HeadCard | None
) -> dict[str, Any]:
    place = f"L{row.layer}H{row.head}"
    data: dict[str, Any] = {
        "l": row.layer,
        "h": row.head,
        "name": visible(row.label.removeprefix(place).strip()) if row.label not in ("", place) else "",
        "module": visible(row.module),
        "verdict": _badge(row.verdict),
        "pattern": visible(row.pattern),
        "reason": visible(row.reason),
        "s": [_short(row.statistics.get(name)) for name in statistics],
        "c": [_claim(one, claims) for one in found],
    }
    if card is not None:
        data |= _card(card, statistics)
    return data


def _claim(finding: Finding, claims: Sequence[str]) -> list[Any]:
    low, high = finding.interval or (None, None)
    numbers = (finding.estimate, low, high, finding.p_adjusted)
    return [claims.index(finding.claim), _badge(str(finding.verdict)), *(_short(value) for value in numbers)]


def _card(card: HeadCard, statistics: Sequence[str]) -> dict[str, Any]:
    image = picture_png(card.picture) if card.picture is not None else None
    return {
        "image": None if image is None else base64.b64encode(image).decode("ascii"),
        "bins": None if card.picture is None else [card.picture.rows, card.picture.columns],
        "reach": [
            [*map(_short, point), _short(share)] for point, share in zip(card.distance, card.uniform, strict=False)
        ],
        "received": None if card.received is None else _keys(card.received),
        "strongest": [_keys(one) for one in card.strongest],
        "named": card.keys_are_tokens,
        "untrained": _untrained(card.untrained, statistics),
    }


def _keys(one: Strongest) -> list[Any]:
    return [one.query, [[key, _short(weight)] for key, weight in zip(one.keys, one.weights, strict=False)]]


def _untrained(values: Mapping[str, Sequence[float]], statistics: Sequence[str]) -> list[Any]:
    return [[_short(value) for value in values[name]] if name in values else None for name in statistics]


def _badge(verdict: str) -> list[str]:
    known = badge(verdict)
    return [known.mark, visible(known.word), known.look]


def _short(value: float | None) -> float | None:
    """The number in few digits; None where there is none."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}") + 0.0
