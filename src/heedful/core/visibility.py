"""Which keys a query may see, in blocks: no ``(query, key)`` array is built beyond the block asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from heedful.core.errors import CallError


@dataclass(frozen=True)
class Visibility:
    """The visible set of every query, as rules that are evaluated block by block.

    A key is visible where every rule given allows it. Query ``i`` stands at key position ``i + offset``; ``offset``
    None means ``n_keys - n_queries``, the alignment of cached decoding.

    Attributes:
        is_causal: Keys after the query's own position are unseen.
        window: How many keys back a query sees, its own included; two-sided where not causal. None: all.
        offset: Key position of query 0, or None for the alignment at the end.
        keys: ``(batch, key)`` bool, False at padding; or None.
        queries: ``(batch, query)`` bool, False where the row is padding and sees nothing; or None.
        mask: Bool, broadcastable to ``(batch, head, query, key)``, True where visible; or None.
    """

    is_causal: bool = False
    window: int | None = None
    offset: int | None = None
    keys: Tensor | None = None
    queries: Tensor | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise CallError(f"window: expected at least 1 key, got {self.window}")
        for name, value, dimensions in (
            ("keys", self.keys, (2,)),
            ("queries", self.queries, (2,)),
            ("mask", self.mask, (2, 3, 4)),
        ):
            if value is None:
                continue
            if value.dtype != torch.bool:
                raise CallError(f"visibility.{name}: expected a bool tensor (True = visible), got {value.dtype}")
            if value.dim() not in dimensions:
                raise CallError(f"visibility.{name}: expected {dimensions} dimensions, got shape {tuple(value.shape)}")
        if self.mask is not None and self.mask.dim() < 4:
            object.__setattr__(self, "mask", self.mask[(None,) * (4 - self.mask.dim())])

    def __and__(self, other: Visibility) -> Visibility:
        """Visible under both.

        Raises:
            CallError: Both set a rule of which only one can be kept.
        """
        merged: dict[str, Any] = {"is_causal": self.is_causal or other.is_causal}
        for name in ("window", "offset"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None and mine != theirs:
                raise CallError(f"visibility: two different values of {name}: {mine} and {theirs}")
            merged[name] = mine if mine is not None else theirs
        for name in ("keys", "queries", "mask"):
            mine, theirs = getattr(self, name), getattr(other, name)
            merged[name] = (
                mine & theirs if mine is not None and theirs is not None else (mine if mine is not None else theirs)
            )
        return Visibility(**merged)

    def start(self, n_queries: int, n_keys: int) -> int:
        """Key position of query 0."""
        return n_keys - n_queries if self.offset is None else self.offset

    def key_range(self, begin: int, end: int, n_queries: int, n_keys: int) -> tuple[int, int]:
        """Smallest ``[first, last)`` range of keys that causal and window rules leave to queries ``[begin, end)``."""
        start = self.start(n_queries, n_keys)
        first, last = 0, n_keys
        if self.window is not None:
            first = max(0, begin + start - self.window + 1)
            last = min(n_keys, end - 1 + start + self.window)
        if self.is_causal:
            last = min(last, end + start)
        return min(first, n_keys), max(min(first, n_keys), last)

    def _near(self, distance: Tensor) -> Tensor:
        """Whether the causal and window rules allow keys this many positions back."""
        seen = distance >= 0 if self.is_causal else torch.ones_like(distance, dtype=torch.bool)
        if self.window is not None:
            seen = seen & (distance < self.window) & (distance > -self.window)
        return seen

    def block(
        self, begin: int, end: int, first: int, last: int, n_queries: int, n_keys: int, device: torch.device
    ) -> Tensor:
        """Visibility of keys ``[first, last)`` for queries ``[begin, end)``.

        Returns:
            Bool, broadcastable to ``(batch, head, end - begin, last - first)``.
        """
        seen = torch.ones(1, 1, end - begin, last - first, dtype=torch.bool, device=device)
        if self.is_causal or self.window is not None:
            position = torch.arange(begin, end, device=device)[:, None] + self.start(n_queries, n_keys)
            seen = seen & self._near(position - torch.arange(first, last, device=device)[None, :])
        if self.keys is not None:
            seen = seen & self.keys.to(device)[:, None, None, first:last]
        if self.queries is not None:
            seen = seen & self.queries.to(device)[:, None, begin:end, None]
        if self.mask is not None:
            rows = self.mask if self.mask.shape[2] == 1 else self.mask[:, :, begin:end]
            seen = seen & (rows if rows.shape[3] == 1 else rows[..., first:last]).to(device)
        return seen

    def at(self, sequence: Tensor, query: Tensor, key: Tensor, n_queries: int, n_keys: int) -> Tensor:
        """Visibility of chosen (sequence, query, key) triples, for the first head where heads differ.

        Returns:
            ``(point,)`` bool.
        """
        seen = self._near(query + self.start(n_queries, n_keys) - key)
        if self.keys is not None:
            seen = seen & self.keys.to(seen.device)[sequence, key]
        if self.queries is not None:
            seen = seen & self.queries.to(seen.device)[sequence, query]
        if self.mask is not None:
            sizes = self.mask.shape
            picked = self.mask.to(seen.device)[
                sequence * (sizes[0] > 1), torch.zeros_like(query), query * (sizes[2] > 1), key * (sizes[3] > 1)
            ]
            seen = seen & picked
        return seen

    def first_key(self, batch: int, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Position of the first key that any query of the sequence sees: the sink candidate.

        A mask beside other rules is taken by itself: a key must be shown by the mask to some query and by the rules to
        some query, not by both to one.

        Returns:
            ``(batch,)`` int64; 0 where no key is ever seen.
        """
        seen = self._shown(batch, n_queries, n_keys, device)
        if self.keys is not None:
            seen = seen & self.keys.to(device)
        if self.mask is not None:
            seen = seen & self.mask.any(dim=2).any(dim=1).to(device)
        return seen.to(torch.uint8).argmax(dim=1)

    def _shown(self, batch: int, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Whether any real query stands where the causal and window rules let it see a key: ``(batch, key)`` bool."""
        real = torch.ones(batch, n_queries, dtype=torch.bool, device=device)
        if self.queries is not None:
            real = real & self.queries.to(device)
        real_before = torch.nn.functional.pad(real.cumsum(dim=1), (1, 0))
        own = torch.arange(n_keys, device=device) - self.start(n_queries, n_keys)
        begin = own if self.is_causal else torch.zeros_like(own)
        end = torch.full_like(own, n_queries)
        if self.window is not None:
            begin = begin if self.is_causal else own - self.window + 1
            end = own + self.window
        begin, end = begin.clamp(0, n_queries), end.clamp(0, n_queries)
        return real_before[:, end] > real_before[:, begin]

    def part(self, batch: slice, heads: slice) -> Visibility:
        """The same rules for some of the sequences and heads."""
        mask = self.mask
        if mask is not None:
            mask = mask if mask.shape[0] == 1 else mask[batch]
            mask = mask if mask.shape[1] == 1 else mask[:, heads]
        keys, queries = (None if real is None else real[batch] for real in (self.keys, self.queries))
        return replace(self, mask=mask, keys=keys, queries=queries)

    def only_causal(self) -> bool:
        """Whether the causal rule is the only one."""
        return (
            self.is_causal and self.window is None and self.keys is None and self.queries is None and self.mask is None
        )

    def hides_nothing(self) -> bool:
        """Whether every query sees every key."""
        return not self.is_causal and all(rule is None for rule in (self.window, self.keys, self.queries, self.mask))

    def with_padding(self, keys: Tensor | None = None, queries: Tensor | None = None) -> Visibility:
        """The same rules with padded keys hidden and padded queries seeing nothing."""
        return replace(self, keys=keys, queries=queries)


def causal(*, window: int | None = None, offset: int | None = None) -> Visibility:
    """Each query sees its own position and those before it, at most ``window`` of them.

    Args:
        window: Number of keys seen, the query's own included; None for all.
        offset: Key position of query 0; None aligns the last query with the last key.
    """
    return Visibility(is_causal=True, window=window, offset=offset)


def bidirectional(*, window: int | None = None) -> Visibility:
    """Each query sees every key, or those less than ``window`` positions away on either side."""
    return Visibility(window=window)


def padding(attention_mask: Tensor, *, queries: bool = True) -> Visibility:
    """Keys where ``attention_mask`` is 0 are unseen, and the rows of such positions see nothing.

    Args:
        attention_mask: ``(batch, key)``, non-zero at real tokens, as tokenizers return it.
        queries: Whether the same mask stands for the queries too (self-attention of equal lengths).
    """
    real = attention_mask.bool()
    return Visibility(keys=real, queries=real if queries else None)


def masked(mask: Tensor) -> Visibility:
    """Exactly the keys where ``mask`` is True.

    Args:
        mask: Bool, broadcastable to ``(batch, head, query, key)``.
    """
    return Visibility(mask=mask)
