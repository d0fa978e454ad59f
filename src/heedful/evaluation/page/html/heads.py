"""Prepare the data behind the head map and head cards of the HTML page as compact JSON, with control characters made
visible.

Give each head statistic a unit and a one-sentence explanation.

Encode head pictures as small PNG files with sixteen colours; bins without visible keys are transparent.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heedful.attention.registry import STATISTICS
from heedful.evaluation.page.html.verdicts import badge
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, HeadCard, HeadRow, Picture, Report, Strongest


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


_WORDS = {
    "concentration": ("nat", "distance from equal weights over the visible keys"),
    "effective_keys": ("keys", "equally weighted keys that would have this entropy"),
    "induction_mass": ("mass", "weight on the tokens after all earlier copies of the query's token, on random repeats"),
    "duplicate_mass": ("mass", "weight on all earlier copies of the query's own token, on random repeats"),
    "local_mass": ("mass", "weight within 5 positions"),
    "log_contrast": ("log ratio", "near keys against far ones, within rows"),
    "later_sink_key": (
        "position",
        "key other than the first that draws most weight, where half of the sequences agree",
    ),
    "later_sink_mass": ("mass", "mean weight on the key other than the first that draws most"),
    "max_logit": ("logit", "largest logit over all visible pairs, after scale, softcap and bias"),
    "max_weight": ("mass", "weight of the heaviest key"),
    "near_zero_mass": ("mass", "weight on values whose projected norm is below a quarter of the median one"),
    "offset": ("tokens", "offset of the heaviest key from the query, own and previous token left out"),
    "offset_mass": ("mass", "mean weight at that offset"),
    "pair_mass": ("mass", "mean weight on the given pairs"),
    "pair_mass_permuted": ("mass", "the same on permuted pairs"),
    "pair_p": ("p", "share of matchings, permuted and given, with this mass"),
    "pair_p_adjusted": ("p", "the same, adjusted over all heads"),
    "previous_mass": ("mass", "weight on the token before"),
    "row_entropy": ("nat", "entropy of the weights"),
    "row_std_seed": ("mass", "spread of a row's weights; for comparison only, it shrinks with length"),
    "self_mass": ("mass", "weight on the query's own token"),
    "sink_mass": ("mass", "weight on the first key"),
    "sink_norm_ratio": ("ratio", "norm of the hidden state of the heaviest key over the sequence's median one"),
    "visible_share": ("share", "effective keys over visible keys"),
    "weighted_sink_mass": ("share", "share of the first key in weight times value times output projection"),
}


def known_names() -> tuple[str, ...]:
    """Return the names of the statistics for which this module has a unit and an explanation."""
    return tuple(_WORDS)


def words_of(name: str) -> tuple[str, str]:
    """Return the unit and a one-sentence explanation of a statistic.

    Args:
        name: Of the statistic; one of another package has the unit that it was registered with, and the first line of
            its docstring.

    Returns:
        Both empty for one that nothing installed here registers, as in a report from elsewhere.
    """
    if name in _WORDS:
        return _WORDS[name]
    if name not in STATISTICS:
        return "", ""
    facts = STATISTICS[name]
    first = next(iter((facts.compute.__doc__ or "").strip().splitlines()), "")
    return facts.unit, first.rstrip(".")


_STOPS = ((244, 247, 250), (166, 203, 230), (62, 134, 196), (18, 69, 124), (4, 22, 46))
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHADES = 15


def picture_png(picture: Picture) -> bytes | None:
    """Return a picture as PNG bytes, pale to dark by weight; bins without visible keys are transparent.

    Args:
        picture: The picture; its text is not trusted.

    Returns:
        The file, or None where the text holds no such grid.
    """
    grid = _grid(picture)
    if grid is None:
        return None
    lines = [grid[start : start + picture.columns] for start in range(0, len(grid), picture.columns)]
    header = struct.pack(">IIBBBBB", picture.columns, picture.rows, 4, 3, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", palette()),
        (b"tRNS", b"\x00"),
        (b"IDAT", zlib.compress(b"".join(b"\x00" + _packed(line) for line in lines), 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in parts)


def palette() -> bytes:
    """Return the RGB bytes of the transparent colour and of each shade."""
    colours = [_STOPS[0]] + [_colour(shade / (_SHADES - 1)) for shade in range(_SHADES)]
    return bytes(part for colour in colours for part in colour)


def _colour(place: float) -> tuple[int, int, int]:
    """The colour at a place from 0 to 1, linear between stops."""
    step = min(int(place * (len(_STOPS) - 1)), len(_STOPS) - 2)
    rest = place * (len(_STOPS) - 1) - step
    red, green, blue = (round(a + (b - a) * rest) for a, b in zip(_STOPS[step], _STOPS[step + 1], strict=True))
    return red, green, blue


def _grid(picture: Picture) -> bytes | None:
    """The bins of a picture, never more than it says it has."""
    expected = picture.rows * picture.columns
    try:
        inflating = zlib.decompressobj()
        grid = inflating.decompress(base64.b64decode(picture.shades, validate=True), expected + 1)
    except (zlib.error, binascii.Error, ValueError):
        return None
    return grid if len(grid) == expected and max(grid, default=0) <= _SHADES else None


def _packed(line: bytes) -> bytes:
    """Two bins a byte."""
    even = line + b"\x00" * (len(line) % 2)
    return bytes(left << 4 | right for left, right in zip(even[::2], even[1::2], strict=True))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
