"""Evaluate the promises about which keys are visible, for every query and a few chosen keys.

Compare attention rows with visibility promises: forbidden keys that are seen, and required keys that are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heedful.contract.record import Promise

MANY = 64
"""Most documents whose edges are among the sampled keys."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Promises about which keys each query of one call sees.

    Query i stands at key position i + offset. A promise that is None is not made; the others are all to hold.

    Attributes:
        queries: Number of queries.
        keys: Number of keys.
        offset: Key position of query 0; None where queries and keys are other sequences.
        direction: ``causal`` or ``both``.
        window: Keys that a causal query sees, its own included; both ways the largest distance; 0 where every key is
            promised.
        chunk: Positions of a chunk, counted from the first live one.
        documents: Labels ``(batch, key)``, below 0 where a position's document is not known.
        padding: ``(batch, key)`` bool, True at keys that are no padding.
        blocks: Labels ``(batch, key)`` of blocks that look both ways, below 0 outside them.
        mask: ``(batch or 1, 1, query, key)`` bool of a mask that the batch holds, True where visible.
        live: ``(batch, query)`` bool, False where a row is padding.
        labels: Document labels of each position.
        real: The padding.
        block_labels: The blocks.
        given_mask: The mask.
        own_only: Whether nothing but these rules may hide a key, so that a missing key is a breach.
    """

    queries: int
    keys: int
    offset: int | None = 0
    direction: Promise | None = None
    window: Promise | None = None
    chunk: Promise | None = None
    documents: Promise | None = None
    padding: Promise | None = None
    blocks: Promise | None = None
    mask: Promise | None = None
    live: Tensor | None = None
    labels: Tensor | None = None
    real: Tensor | None = None
    block_labels: Tensor | None = None
    given_mask: Tensor | None = None
    own_only: bool = True
    both_edges_exclusive: bool = False
    contradictions: tuple[str, ...] = field(default=())

    def named(self) -> dict[str, Promise]:
        """Return the promises made, by name."""
        names = ("direction", "window", "chunk", "documents", "padding", "blocks", "mask")
        return {name: promise for name in names if (promise := getattr(self, name)) is not None}

    @property
    def complete(self) -> bool:
        """Whether the promises decide visibility for every (query, key) pair."""
        if self.offset is None:
            return self.own_only
        return self.own_only and self.direction is not None and (self.window is not None or self.chunk is not None)

    def hidden(self, keys: Tensor) -> dict[str, Tensor]:
        """Return a bool mask for each promise, ``(batch or 1, query, column)`` by name: True where the promise hides
        the key from the query.

        Args:
            keys: ``(column,)`` key positions.

        Returns:
            Promise to bool ``(batch or 1, query, column)``, True where it hides the key.
        """
        found: dict[str, Tensor] = {}
        device = keys.device
        if self.offset is not None:
            place = torch.arange(self.queries, device=device)[:, None] + self.offset
            distance = place - keys[None]
            future = (distance < 0)[None]
            if self.direction is not None and self.direction.value == "causal":
                found["direction"] = future & ~self._same_block(keys, device)
            if self.window is not None and self.window.value:
                found["window"] = self._beyond(distance)[None]
            if self.chunk is not None:
                found["chunk"] = self._other_chunk(place[:, 0], keys)
            if self.labels is not None:
                own = self._at(self.labels, device)
                other = self.labels.to(device)[:, keys]
                known = (own[..., None] >= 0) & (other[:, None] >= 0)
                found["documents"] = known & (own[..., None] != other[:, None])
        if self.real is not None:
            found["padding"] = (~self.real.to(device)[:, keys])[:, None].expand(-1, self.queries, -1)
        if self.given_mask is not None:
            found["mask"] = ~self.given_mask.to(device)[:, 0][..., keys]
        return found

    def _beyond(self, distance: Tensor) -> Tensor:
        width = self.window.value  # type: ignore[union-attr]
        if self.direction is not None and self.direction.value == "both":
            return distance.abs() >= width if self.both_edges_exclusive else distance.abs() > width
        return distance >= width

    def _other_chunk(self, places: Tensor, keys: Tensor) -> Tensor:
        size = self.chunk.value  # type: ignore[union-attr]
        if self.real is None:
            left = torch.zeros(1, dtype=torch.int64, device=keys.device)
        else:
            left = self.real.to(keys.device).int().argmax(1)
        rows, columns = places[None] - left[:, None], keys[None] - left[:, None]
        return torch.div(rows, size, rounding_mode="floor")[..., None] != torch.div(
            columns, size, rounding_mode="floor"
        ).unsqueeze(1)

    def _same_block(self, keys: Tensor, device: torch.device) -> Tensor:
        if self.block_labels is None:
            return torch.zeros(1, 1, 1, dtype=torch.bool, device=device)
        own = self._at(self.block_labels, device)
        return (own[..., None] == self.block_labels.to(device)[:, keys][:, None]) & (own[..., None] >= 0)

    def _at(self, labels: Tensor, device: torch.device) -> Tensor:
        """Labels of the queries' own positions."""
        place = (torch.arange(self.queries, device=device) + (self.offset or 0)).clamp(0, self.keys - 1)
        return labels.to(device)[:, place]

    def live_rows(self, batch: int, device: torch.device) -> Tensor:
        """Return a bool mask of the queries that are not padding, ``(batch, query)``."""
        if self.live is None:
            return torch.ones(batch, self.queries, dtype=torch.bool, device=device)
        return self.live.to(device).expand(batch, self.queries)

    def telling_keys(self, most: int) -> list[int]:
        """Return key positions likely to reveal a breach: the edges of all promises, then evenly spaced ones."""
        last = self.keys - 1
        wanted = [0, 1, last, last - 1]
        for labels in (self.labels, self.block_labels, None if self.real is None else self.real.long()):
            if labels is not None:
                edges = (labels[:, 1:] != labels[:, :-1]).any(0).nonzero()[:, 0].tolist()[:MANY]
                wanted += [place for edge in edges for place in (edge, edge + 1)]
        size = self.chunk.value if self.chunk is not None else 0
        wanted += [place for edge in range(size, self.keys, size or 1) for place in (edge - 1, edge)][:MANY]
        step = max(1, self.keys // max(1, most))
        wanted += list(range(step // 2, self.keys, step))
        return list(dict.fromkeys(place for place in wanted if 0 <= place <= last))[:most]

    def exercised(self, name: str) -> str:
        """Return why the batch cannot reveal a breach of a promise, or an empty string if it can."""
        if name == "window" and self.window is not None and self.window.value:
            reach = self.window.value + (self.direction is not None and self.direction.value == "both")
            if reach >= self.keys:
                return f"the window of {self.window.value} is not shorter than the text of {self.keys}"
        if name == "chunk" and self.chunk is not None and self.chunk.value >= self.keys:
            return f"one chunk of {self.chunk.value} holds the whole text of {self.keys}"
        if name == "documents" and self.labels is not None and not bool((self.labels != self.labels[:, :1]).any()):
            return "each row holds one document"
        if name == "padding" and self.real is not None and bool(self.real.all()):
            return "no position is padding"
        if name == "direction" and self.keys < 2:
            return "one token has no future"
        return ""


SEEN = 1e-9
"""Weight above which a key is seen: a finite mask of -20 leaves 2e-9."""

ORDER = ("direction", "blocks", "padding", "documents", "chunk", "window", "mask")
"""Which promise a pair is laid to that several hide, the first that is broken anyway first."""


@dataclass(frozen=True)
class WrongPair:
    """First (query, key) pair that breaks a promise.

    Attributes:
        sees: Whether the query sees a key that it should not; else it misses one that it should see.
        sequence: Row of the batch.
        head: Query head.
        query: Position of the query among the queries of the call.
        key: Position of the key.
        weight: Its weight.
        pairs: Wrong pairs of this kind, over heads and sequences.
    """

    sees: bool
    sequence: int
    head: int
    query: int
    key: int
    weight: float
    pairs: int


def wrong_pairs(rules: Rules, keys: Tensor, weights: Tensor, expected: Tensor | None) -> dict[str, WrongPair]:
    """Return the first wrong pair of each promise, ordered by query, key, head.

    Args:
        rules: What is promised.
        keys: ``(column,)`` key positions.
        weights: ``(batch, head, query, column)`` of the kernel.
        expected: The same as promised logits make them, by which a weight of 0 is told from one that rounds to 0; None
            where no logits are known, and a key counts as missing only where the rest of its row is not tiny.

    Returns:
        Promise to pair; promises that hold are left out.
    """
    hidden = {name: pairs.expand(weights.shape[0], -1, -1) for name, pairs in rules.hidden(keys).items()}
    live = rules.live_rows(weights.shape[0], weights.device)[..., None]
    found = _seen_wrongly(hidden, live, keys, weights)
    if rules.complete and expected is not None:
        shown = live.expand(-1, -1, len(keys))
        for pairs in hidden.values():
            shown = shown & ~pairs
        missing = shown[:, None] & (weights <= 0) & (expected > 1e-6)
        pair = _first(missing, keys, weights, sees=False)
        if pair is not None:
            found.setdefault(_missed_promise(rules, pair), pair)
    return found


def _seen_wrongly(hidden: Mapping[str, Tensor], live: Tensor, keys: Tensor, weights: Tensor) -> dict[str, WrongPair]:
    seen = (weights > SEEN).any(1)
    wrong = {name: pairs & live & seen for name, pairs in hidden.items()}
    found: dict[str, WrongPair] = {}
    for name in ORDER:
        if name not in wrong:
            continue
        others = [pairs for other, pairs in hidden.items() if other not in (name, "mask")]
        alone = wrong[name]
        for pairs in others:
            alone = alone & ~pairs
        pair = _first(alone[:, None] & (weights > SEEN), keys, weights, sees=True)
        if pair is not None:
            found[name] = pair
    if not found:
        for name in ORDER:
            pair = _first(wrong[name][:, None] & (weights > SEEN), keys, weights, sees=True) if name in wrong else None
            if pair is not None:
                return {name: pair}
    if set(found) == {"mask"} or "mask" not in found:
        return found
    return {name: pair for name, pair in found.items() if name != "mask"}


def _first(wrong: Tensor, keys: Tensor, weights: Tensor, *, sees: bool) -> WrongPair | None:
    places = wrong.nonzero()
    if not len(places):
        return None
    at = keys[places[:, 3]]
    batch, heads = weights.shape[:2]
    order = ((places[:, 2] * (int(keys.max()) + 1) + at) * batch + places[:, 0]) * heads + places[:, 1]
    sequence, head, query, column = places[int(order.argmin())].tolist()
    key = int(keys[column])
    return WrongPair(sees, sequence, head, query, key, float(weights[sequence, head, query, column]), len(places))


def _missed_promise(rules: Rules, pair: WrongPair) -> str:
    """Which promise a missing key is laid to."""
    place = pair.query + (rules.offset or 0)
    if rules.offset is None:
        return "padding"
    if rules.block_labels is not None and pair.key > place:
        return "blocks"
    if pair.key > place or rules.direction is None or place - pair.key <= 1:
        return "direction"
    if rules.chunk is not None:
        return "chunk"
    return "window" if rules.window is not None else "direction"
