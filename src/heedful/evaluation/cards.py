"""Records for head cards: for each head, a picture of its attention weights on one document, its attention mass by
distance, and the keys with the most weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHADES = 15
"""Shades of a picture, 1 to 15; 0 is a bin in which no query sees a key."""

LEAST_SHARE = 1 / 16
"""Weight over the weight that uniform attention would place there, at and below which a bin has the first shade."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Attention weights of one head on one document, averaged in a grid of query and key bins.

    The shade of a bin is the mean weight of its visible pairs over the weight that uniform attention gives them, on a
    logarithmic scale from ``LEAST_SHARE`` (shade 1) to the number of columns (shade ``SHADES``), which is the most that
    one bin can hold.

    Attributes:
        rows: Bins of queries, at most 256.
        columns: Bins of keys, at most 256.
        shades: One byte a bin, row after row, deflated by zlib and written in base64.
    """

    rows: int
    columns: int
    shades: str


@dataclass(frozen=True, kw_only=True)
class Strongest:
    """The keys to which one query of the pictured document gives the most weight.

    Attributes:
        query: Position of the query; None where the weights are means over all queries of the document.
        keys: Positions, heaviest first.
        weights: Their weights.
    """

    query: int | None
    keys: Sequence[int]
    weights: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class HeadCard:
    """Card of one head: picture of its weights on one document, attention mass by distance, keys with the most weight,
    and statistics of untrained heads.

    Attributes:
        layer: Layer index.
        head: Head index within the module.
        picture: Its weights on the pictured document; None where they are not finite.
        distance: Mean mass by distance over documents with its 95 % interval, ``(estimate, low, high)`` a bin.
        uniform: What uniform attention over the same rows would have there.
        received: The keys that receive most of the pictured document's attention, as a share of all of it.
        strongest: The heaviest keys of a few queries.
        untrained: Statistic to ``(smallest, mean, largest)`` over heads that have learned nothing.
        keys_are_tokens: Whether key positions are positions of the document's own tokens.
    """

    layer: int
    head: int
    picture: Picture | None
    distance: Sequence[tuple[float, float, float]]
    uniform: Sequence[float]
    received: Strongest | None
    strongest: Sequence[Strongest]
    untrained: Mapping[str, tuple[float, float, float]]
    keys_are_tokens: bool = True


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Cards of all heads, with the name, length and tokens of the document that their pictures show.

    Attributes:
        document: Its name.
        length: Its tokens.
        tokens: Position to the text of the token there, for every position of a short document, else for
            those that a card names; text is data.
        distances: Names of the distance bins: ``0``, ``1``, ``2-3`` ...
        heads: One card a head, in the order of the head table.
    """

    document: str
    length: int
    tokens: Mapping[int, str]
    distances: Sequence[str]
    heads: Sequence[HeadCard]
