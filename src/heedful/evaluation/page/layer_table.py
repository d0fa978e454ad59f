"""Render findings on single layers as a compact table: a row per layer, a column per claim or replacement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from heedful.reporting.marks import VERDICTS, ellipsis, mark, style
from heedful.reporting.paragraph import BLANK, Line, Segment, Sheet, aligned, clip, flow, fold, line, paragraph
from heedful.reporting.quantity import interval, number, short_number

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding

LAYERS = 24
"""Rows of one table; the other layers stand in the JSON document."""
_INDENT = "  "
_LAYER = 6
_CELL, _WIDE_CELL = 9, 40
_GAP = 1

_Grid = Mapping[tuple[int, str], "Finding"]


def layer_table(findings: Sequence[Finding], page: Sheet) -> list[Line]:
    """Return the table of layer findings as lines; each cell has the verdict's symbol and the estimate.

    One column also shows the interval. Columns that do not fit side by side follow in a further table.

    Args:
        findings: Findings with a layer and without a head.
        page: What to write on.

    Returns:
        No line for no finding; else tables, what they left out, and the signatures where findings name one.
    """
    placed = {
        (finding.layer, _column(finding)): finding
        for finding in findings
        if finding.layer is not None and not _only_a_signature(finding)
    }
    columns = list(dict.fromkeys(column for _, column in placed))
    layers = sorted({layer for layer, _ in placed})
    width = _WIDE_CELL if len(columns) == 1 else _CELL
    abreast = max(1, (page.width - len(_INDENT) - _LAYER) // (_CELL + _GAP))
    lines: list[Line] = []
    for start in range(0, len(columns), abreast):
        part = columns[start : start + abreast]
        lines += [BLANK, *_heading(part, placed, width, page)]
        lines += [_row(layer, part, placed, width, page) for layer in layers[:LAYERS]]
    if len(layers) > LAYERS:
        lines.append(line(f"{_INDENT}{ellipsis(page.encoding)} and {len(layers) - LAYERS} more layers: --json PATH"))
    return lines + _signatures(findings, page)


def _column(finding: Finding) -> str:
    arm = finding.detail.get("arm")
    return arm if isinstance(arm, str) else finding.claim


def _heading(columns: Sequence[str], placed: _Grid, width: int, page: Sheet) -> list[Line]:
    folded = [fold(page.text(column).replace("_", " "), width) for column in columns]
    height = max(len(rows) for rows in folded)
    lines = [line(_INDENT + row) for row in flow(_legend(placed, page), "   ", page.width - len(_INDENT))]
    for index in range(height):
        first = aligned("layer" if index == height - 1 else "", _LAYER)
        words = [rows[index - height + len(rows)] if index >= height - len(rows) else "" for rows in folded]
        text = _INDENT + first + "".join(" " * _GAP + aligned(word, width) for word in words)
        lines.append(line(text.rstrip(), "bold"))
    return lines


def _legend(placed: _Grid, page: Sheet) -> list[str]:
    units = {page.text(finding.unit) for finding in placed.values()} - {""}
    found = {str(finding.verdict) for finding in placed.values()}
    messages = [f"{mark(verdict, page.encoding)} {verdict}" for verdict in VERDICTS if verdict in found]
    return [f"by layer, in {units.pop()}" if len(units) == 1 else "by layer", *messages]


def _row(layer: int, columns: Sequence[str], placed: _Grid, width: int, page: Sheet) -> Line:
    segments: list[Segment] = [(_INDENT + aligned(str(layer), _LAYER - 1, right=True) + " ", "")]
    for column in columns:
        finding = placed.get((layer, column))
        segments += [(" " * _GAP, ""), *(_cell(finding, width, page) if finding else [(" " * width, "")])]
    return tuple(segments)


def _cell(finding: Finding, width: int, page: Sheet) -> list[Segment]:
    verdict = str(finding.verdict)
    text = verdict if finding.estimate is None else short_number(finding.estimate)
    if width == _WIDE_CELL:
        text = f"{verdict:<6} {'' if finding.estimate is None else number(finding.estimate)}"
        text += f"  {interval(finding.interval)}" if finding.interval is not None else ""
    shown = aligned(clip(text, width - 2, ellipsis(page.encoding)), width - 2)
    return [(mark(verdict, page.encoding), style(verdict)), (" " + shown, "")]


def _only_a_signature(finding: Finding) -> bool:
    return finding.estimate is None and isinstance(finding.detail.get("signature"), str)


def _signatures(findings: Sequence[Finding], page: Sheet) -> list[Line]:
    layers: dict[str, list[int | None]] = {}
    for finding in findings:
        signature = finding.detail.get("signature")
        if isinstance(signature, str) and finding.layer not in layers.setdefault(signature, []):
            layers[signature].append(finding.layer)
    if not layers:
        return []
    messages = [f"{page.text(name)} ({_numbered(found)})" for name, found in layers.items()]
    return paragraph(f"signature: {'; '.join(messages)}", page.width, indent=_INDENT)


def _numbered(layers: Sequence[int | None]) -> str:
    return ("layer " if len(layers) == 1 else "layers ") + ", ".join(str(layer) for layer in layers)
