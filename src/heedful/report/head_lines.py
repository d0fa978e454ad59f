"""Section 5: the head table, most concentrated heads first, and what each layer holds."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.report.marks import ellipsis, style
from heedful.report.paragraph import BLANK, Line, Sheet, aligned, clip, line, paragraph
from heedful.report.quantity import count

if TYPE_CHECKING:
    from heedful.core import HeadRow

SHOWN = 24
"""Heads listed in a report; ``heedful heads`` lists them all."""
LAYERS = 24
VERDICTS = ("SHARP", "SELECTIVE", "WEAK", "DIFFUSE", "UNDEFINED")
_INDENT = "  "
_HEADING = f"{'keys':>7} {'share':>6} {'top-1':>6}  "
_RIGHT = f"{'row_std':>7}"
_PATTERN, _VERDICT, _LABEL = 14, 9, (6, 16)


def head_lines(heads: Sequence[HeadRow], page: Sheet, *, shown: int | None = SHOWN) -> list[Line]:
    """The head table.

    Columns: label, effective keys, share of the visible keys that they are, mass of the heaviest key, named pattern,
    verdict, and the population deviation of a row that an older guide used (``row_std``, for comparison only).

    Args:
        heads: Rows of the head table.
        page: What to write on.
        shown: How many rows to list, most concentrated first; None lists all in the model's order.

    Returns:
        Heading, a line a head, and how many were left out.
    """
    if not heads:
        return [line(f"{_INDENT}no head was measured")]
    rows = list(heads) if shown is None else sorted(heads, key=_concentration, reverse=True)[:shown]
    names = {id(row): page.text(_name(row)) for row in rows}
    width = min(max(len(name) for name in names.values()), _LABEL[1])
    width = max(width, _LABEL[0])
    spare = page.width - len(_INDENT) - width - len(_HEADING) - _VERDICT - len(_RIGHT) - 2
    pattern = max(min(_PATTERN, spare), 0)
    lines = [line(_INDENT + aligned("head", width) + _HEADING + _wide("pattern", pattern, page) + _tail(), "bold")]
    lines += [_row(row, names[id(row)], width, pattern, page) for row in rows]
    more = len(heads) - len(rows)
    if more > 0:
        lines.append(line(f"{_INDENT}{ellipsis(page.encoding)} and {more} more: heedful heads MODEL"))
    return lines


def layer_lines(heads: Sequence[HeadRow], page: Sheet) -> list[Line]:
    """Per layer, how many heads got each verdict and the median of their effective keys; then the whole model."""
    if not heads:
        return []
    layers = sorted({row.layer for row in heads})
    lines = [BLANK, line(f"{_INDENT}layer  sharp  selective  weak  diffuse  undefined  median keys", "bold")]
    for layer in layers[:LAYERS]:
        rows = [row for row in heads if row.layer == layer]
        counts = Counter(_counted(row) for row in rows)
        numbers = [f"{counts[name]:>{size}}" for name, size in zip(VERDICTS, (5, 9, 4, 7, 9), strict=True)]
        lines.append(line(f"{_INDENT}{layer:>5}  {'  '.join(numbers)}  {_median_keys(rows):>11}"))
    if len(layers) > LAYERS:
        lines.append(line(f"{_INDENT}{ellipsis(page.encoding)} and {len(layers) - LAYERS} more layers"))
    return [*lines, *_whole(heads, page)]


def _whole(heads: Sequence[HeadRow], page: Sheet) -> list[Line]:
    counts = Counter(_counted(row) for row in heads)
    parts = [f"{counts[name]} {name.lower()} ({counts[name] / len(heads):.0%})" for name in VERDICTS if counts[name]]
    text = f"{count(len(heads), 'head')}: {', '.join(parts)}"
    return [BLANK, *paragraph(text, page.width, indent=_INDENT)]


def _row(row: HeadRow, name: str, width: int, pattern: int, page: Sheet) -> Line:
    values = row.statistics
    share = values.get("visible_share", math.exp(-values.get("concentration", math.nan)))
    numbers = f"{_keys(values.get('effective_keys')):>7} {_share(share):>6} {_mass(values.get('max_weight')):>6}  "
    dots = ellipsis(page.encoding)
    verdict = clip(page.text(row.verdict), _VERDICT, dots)
    return (
        (_INDENT + aligned(clip(name, width, dots), width) + numbers + _wide(row.pattern, pattern, page), ""),
        (aligned(verdict, _VERDICT), style(row.verdict)),
        (f" {_mass(values.get('row_std_seed'), 4):>7}", ""),
    )


def _wide(text: str, width: int, page: Sheet) -> str:
    if width < 4:
        return ""
    shown = page.text(text).replace("_", " ")
    return aligned(clip(shown, width - 1, ellipsis(page.encoding)), width)


def _tail() -> str:
    return f"{'verdict':<{_VERDICT}} {_RIGHT}"


def _name(row: HeadRow) -> str:
    place = f"L{row.layer}H{row.head}"
    return place if row.label in ("", place) else f"{place} {row.label}"


def _counted(row: HeadRow) -> str:
    return row.verdict if row.verdict in VERDICTS else "UNDEFINED"


def _concentration(row: HeadRow) -> float:
    value = row.statistics.get("concentration", math.nan)
    return -math.inf if math.isnan(value) else value


def _median_keys(rows: Sequence[HeadRow]) -> str:
    known = [value for row in rows if not math.isnan(value := row.statistics.get("effective_keys", math.nan))]
    return _keys(statistics.median(known)) if known else "-"


def _keys(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.1f}" if value < 1e4 else f"{value:.1e}"


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "-"


def _mass(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
