"""A report with cards: a picture of shades from pale to dark, a curve and a few tokens for every head."""

from __future__ import annotations

import base64
import random
import zlib
from dataclasses import replace
from typing import Any

from tests.evaluation.page import factory

from heedful.evaluation.result import Cards, HeadCard, Picture, Report, Strongest

DISTANCES = ("0", "1", "2-3", "4+")


def noise(bins: int) -> Picture:
    """A causal triangle of random shades, which no packing makes smaller."""
    draw = random.Random(0)
    grid = bytes(draw.randint(1, 15) if key <= row else 0 for row in range(bins) for key in range(bins))
    return Picture(rows=bins, columns=bins, shades=base64.b64encode(zlib.compress(grid)).decode("ascii"))


def picture(rows: int = 16, columns: int = 16) -> Picture:
    """A causal triangle: shades from 1 to 15 along each row, 0 above the diagonal."""
    grid = bytes(1 + (row + key) % 15 if key <= row else 0 for row in range(rows) for key in range(columns))
    return Picture(rows=rows, columns=columns, shades=base64.b64encode(zlib.compress(grid)).decode("ascii"))


def card(layer: int = 0, head: int = 0, **more: Any) -> HeadCard:
    known: dict[str, Any] = {
        "picture": picture(),
        "distance": [(0.1, 0.08, 0.12), (0.4, 0.35, 0.45), (0.3, 0.29, 0.31), (0.2, float("nan"), 0.3)],
        "uniform": [0.05, 0.05, 0.1, 0.8],
        "received": Strongest(query=None, keys=[0, 3], weights=[0.25, 0.125]),
        "strongest": [Strongest(query=7, keys=[6, 3], weights=[0.75, 0.125])],
        "untrained": {"concentration": (0.001, 0.002, 0.004)},
    }
    return HeadCard(layer=layer, head=head, **{**known, **more})


def carded(report: Report | None = None, token: str = " king", document: str = "Genesis 1") -> Report:
    """The realistic report, or another one, with a card for each of its heads."""
    report = report or factory.realistic()
    heads = [card(row.layer, row.head) for row in report.heads]
    tokens = dict.fromkeys((0, 3, 6, 7), token)
    return replace(report, cards=Cards(document=document, length=16, tokens=tokens, distances=DISTANCES, heads=heads))
