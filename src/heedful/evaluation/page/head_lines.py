"""Section 5: render the head table, most concentrated heads first, and a summary of each layer."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.reporting.marks import ellipsis, style
from heedful.reporting.paragraph import BLANK, Line, Sheet, aligned, cells, clip, line, paragraph
from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.evaluation.result import HeadRow

SHOWN = 24
"""Heads listed in a report; ``heedful heads`` lists them all."""
LAYERS = 24
VERDICTS = ("SHARP", "SELECTIVE", "WEAK", "DIFFUSE", "UNDEFINED")
_INDENT = "  "
_SPACIOUS = 64
_HEADING = f"{'keys':>6} {'share':>6} {'top-1':>5}  "
_TAIL = f"{'verdict':<9} {'row_std':>7}"
_PATTERN, _VERDICT = 15, 9
_SHORTEST_LABEL, _LONGEST_LABEL = 6, 14
_OWN = frozenset(
    {
        "concentration",
        "duplicate_mass",
        "effective_keys",
        "induction_mass",
        "local_mass",
        "log_contrast",
        "max_weight",
        "previous_mass",
    }
    | {"later_sink_key", "later_sink_mass", "max_logit", "near_zero_mass", "offset", "offset_mass"}
    | {"pair_mass", "pair_mass_permuted", "pair_p", "pair_p_adjusted"}
    | {"sink_norm_ratio", "weighted_sink_mass"}
    | {"row_entropy", "row_std_seed", "self_mass", "sink_mass", "visible_share"}
)
"""Statistics of heedful's own; the columns and patterns of the table show what matters of them."""
_NOTE = "row_std is for comparison only: it shrinks with context."


def head_lines(heads: Sequence[HeadRow], page: Sheet, *, shown: int | None = SHOWN) -> list[Line]:
    """Return the head table as lines, at most ``shown`` heads.

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
    names = [page.text(_name(row)) for row in rows]
    spare = page.width - len(_INDENT) - len(_HEADING) - len(_TAIL)
    longest = max(_SHORTEST_LABEL, min(_LONGEST_LABEL, spare - _PATTERN))
    width = min(longest, max(_SHORTEST_LABEL, *(cells(name) for name in names)))
    pattern = min(_PATTERN, spare - width)
    lines = [line(_INDENT + aligned("head", width) + _HEADING + _wide("pattern", pattern, page) + _TAIL, "bold")]
    lines += [_row(row, name, width, pattern, page) for row, name in zip(rows, names, strict=True)]
    more = len(heads) - len(rows)
    if more > 0:
        lines.append(line(f"{_INDENT}{ellipsis(page.encoding)} and {more} more: heedful heads MODEL"))
    return lines + paragraph(_NOTE, page.width, indent=_INDENT, style="dim") + _added(heads, page)


def _added(heads: Sequence[HeadRow], page: Sheet) -> list[Line]:
    """A line for each statistic that an installed plugin added: its least, median and largest over heads."""
    lines = []
    for name in dict.fromkeys(name for row in heads for name in row.statistics if name not in _OWN):
        known = sorted(value for row in heads if math.isfinite(value := row.statistics.get(name, math.nan)))
        message = f"{known[0]:.3g} to {known[-1]:.3g}, median {statistics.median(known):.3g}" if known else "undefined"
        lines += paragraph(f"{page.text(name)} over heads: {message}", page.width, indent=_INDENT)
    return lines


def layer_lines(heads: Sequence[HeadRow], page: Sheet, *, shown: int | None = LAYERS) -> list[Line]:
    """Return one line per layer, with its heads counted by verdict and its median effective keys, and a last line for
    all layers.
    """
    if not heads:
        return []
    layers = sorted({row.layer for row in heads})
    gap = "  " if page.width >= _SPACIOUS else " "
    heading = gap.join(("layer", *(name.lower() for name in VERDICTS), "median keys"))
    lines = [BLANK, line(_INDENT + heading, "bold")]
    for layer in layers[:shown]:
        rows = [row for row in heads if row.layer == layer]
        counts = Counter(_counted(row) for row in rows)
        numbers = [f"{counts[name]:>{len(name)}}" for name in VERDICTS]
        lines.append(line(_INDENT + gap.join((f"{layer:>5}", *numbers, f"{_median_keys(rows):>11}"))))
    if shown is not None and len(layers) > shown:
        lines.append(line(f"{_INDENT}{ellipsis(page.encoding)} and {len(layers) - shown} more layers"))
    return [*lines, *_whole(heads, page)]


def _whole(heads: Sequence[HeadRow], page: Sheet) -> list[Line]:
    counts = Counter(_counted(row) for row in heads)
    parts = [f"{counts[name]} {name.lower()} ({counts[name] / len(heads):.0%})" for name in VERDICTS if counts[name]]
    text = f"{count(len(heads), 'head')}: {', '.join(parts)}"
    return [BLANK, *paragraph(text, page.width, indent=_INDENT)]


def _row(row: HeadRow, name: str, width: int, pattern: int, page: Sheet) -> Line:
    values = row.statistics
    share = values.get("visible_share", math.exp(-values.get("concentration", math.nan)))
    numbers = f"{_keys(values.get('effective_keys')):>6} {_share(share):>6} {_mass(values.get('max_weight')):>5}  "
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


def _name(row: HeadRow) -> str:
    place = f"L{row.layer}H{row.head}"
    return place if row.label in ("", place) else f"{place} {row.label.removeprefix(place).strip()}"


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
