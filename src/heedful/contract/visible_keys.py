"""Compare attention rows with visibility promises: forbidden keys that are seen, and required keys that are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from heedful.contract.rules import Rules

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
