"""Attention mass by kind of key: token groups, segments, same token, and successors of the same token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import numbered
from heedful.errors import CallError

MOST_GROUPS = 256
"""Most groups or segments of one call: their masses are as many arrays of one number a row."""

NO_QUERY, NO_KEY = -1, -2
"""Numbers of a query and of a key without a label: they differ, so that these never match."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Labels that divide the positions of a text into groups, so that attention mass can be measured per group.

    A negative label is none: such a key belongs nowhere, and for such a query the masses that compare its own label
    are NaN. Nothing here hides a key: unseen keys have no mass whatever their label.

    Attributes:
        keys: Groups such as special tokens or punctuation: ``(batch, key)`` integers from 0, or ``(batch, key, group)``
            0/1 membership where groups overlap. Gives ``group_mass``.
        segments: ``(batch, key)`` integers from 0: sentences, turns, documents. Gives ``segment_mass``, and
            ``own_segment_mass`` on the segment of the query itself.
        tokens: ``(batch, key)`` integer token ids. Gives ``same_token_mass`` (the query's own position left out) and
            ``induction_mass`` (on keys that follow an earlier occurrence of the query's token).
        query_segments: ``(batch, query)``; None takes the label at each query's own position.
        query_tokens: ``(batch, query)``; None takes the label at each query's own position.

    Raises:
        CallError: A tensor has the wrong type or dimensions, or queries are labelled and keys are not.
    """

    keys: Tensor | None = None
    segments: Tensor | None = None
    tokens: Tensor | None = None
    query_segments: Tensor | None = None
    query_tokens: Tensor | None = None

    def __post_init__(self) -> None:
        member = self.keys is not None and self.keys.dim() == 3
        for name in ("segments", "tokens", "query_segments", "query_tokens", *(() if member else ("keys",))):
            labels = getattr(self, name)
            if labels is not None and (
                labels.dim() != 2 or labels.dtype.is_floating_point or labels.dtype == torch.bool
            ):
                came = f"{tuple(labels.shape)} {labels.dtype}"
                raise CallError(f"groups.{name}: expected integer labels (batch, position), got {came}")
        if member and self.keys is not None and not bool(((self.keys == 0) | (self.keys == 1)).all()):
            raise CallError("groups.keys: expected 0 or 1 in (batch, key, group) membership, got other numbers")
        for name in ("segments", "tokens"):
            if getattr(self, name) is None and getattr(self, f"query_{name}") is not None:
                raise CallError(f"groups.query_{name}: expected groups.{name} of the keys beside it, got none")


@dataclass(frozen=True)
class Match:
    """Rule that pairs queries and keys with equal labels at allowed positions.

    Attributes:
        name: ``same_token`` or ``induction``.
        query: ``(batch, query)`` int32, ``NO_QUERY`` where undefined.
        key: ``(batch, key)`` int32, ``NO_KEY`` where none.
        own: ``(query,)`` int32 key position of each query; -1 where there is none.
        allows: Of key position and own position, whether the pair counts.
    """

    name: str
    query: Tensor
    key: Tensor
    own: Tensor
    allows: Callable[[Tensor, Tensor], Tensor]

    def block(self, begin: int, end: int, first: int, last: int) -> Tensor:
        """Return whether queries ``[begin, end)`` and keys ``[first, last)`` match, ``(batch, query, key)`` bool."""
        key = torch.arange(first, last, dtype=self.own.dtype, device=self.own.device)
        same = self.query[:, begin:end, None] == self.key[:, None, first:last]
        return same & self.allows(key, self.own[begin:end, None])

    def named(self, mass: Tensor, visible: Tensor, begin: int, end: int) -> Iterator[tuple[str, Tensor]]:
        """Yield two (name, values) pairs for queries ``[begin, end)``: the mass on matching keys, and the number of
        visible matching keys.
        """
        unknown = (self.query[:, begin:end] == NO_QUERY)[:, None]
        yield f"{self.name}_mass", mass.masked_fill(unknown, math.nan)
        yield f"{self.name}_visible", visible.to(mass.dtype).expand_as(mass)


@dataclass(frozen=True)
class GroupLabels:
    """Group labels in the layout of one call.

    Attributes:
        columns: ``(batch, key, column)`` float32 membership: of groups, then of segments; or None without either.
        n_groups: Number of columns that are groups; None where no groups are asked for.
        query_segment: ``(batch, query)`` int64 segment of each query, negative where none; or None.
        matches: Relations of single queries and keys.
    """

    columns: Tensor | None
    n_groups: int | None
    query_segment: Tensor | None
    matches: tuple[Match, ...]

    @classmethod
    def of(cls, call: AttentionCall, groups: Groups | None) -> GroupLabels | None:
        """Convert groups to the layout of one call, or return None if ``groups`` is None.

        Raises:
            CallError: Labels do not fit the call, there are too many, or queries without positions have none.
        """
        if groups is None:
            return None
        _check(call, groups)
        columns = [
            _membership(name, labels.to(call.query.device))
            for name, labels in (("keys", groups.keys), ("segments", groups.segments))
            if labels is not None
        ]
        segment = None
        if groups.segments is not None:
            segment = _of_queries(call, "segments", groups.segments, groups.query_segments)
        return cls(
            columns=torch.cat(columns, dim=-1) if columns else None,
            n_groups=None if groups.keys is None else columns[0].shape[-1],
            query_segment=segment,
            matches=() if groups.tokens is None else tuple(_token_matches(call, groups.tokens, groups.query_tokens)),
        )

    def part(self, batch: slice) -> GroupLabels:
        """Return the labels of some of the sequences."""
        return replace(
            self,
            columns=None if self.columns is None else self.columns[batch],
            query_segment=None if self.query_segment is None else self.query_segment[batch],
            matches=tuple(replace(match, query=match.query[batch], key=match.key[batch]) for match in self.matches),
        )

    def to(self, dtype: torch.dtype) -> GroupLabels:
        """Return the labels with the membership array ``columns`` converted to a dtype."""
        return self if self.columns is None else replace(self, columns=self.columns.to(dtype))

    def named(self, mass: Tensor, visible: Tensor, begin: int, end: int) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, values) pairs for queries ``[begin, end)``: the mass and the number of visible keys of each
        group, of each segment, and of the query's own segment.

        Args:
            mass: ``(batch, head, query, column)``.
            visible: The same of counts, broadcastable.
            begin: First query.
            end: End of the queries.
        """
        visible = visible.expand_as(mass)
        split = self.n_groups or 0
        if self.n_groups is not None:
            yield from (("group_mass", mass[..., :split]), ("group_visible", visible[..., :split]))
        if self.query_segment is None:
            return
        mass, visible = mass[..., split:], visible[..., split:]
        yield from (("segment_mass", mass), ("segment_visible", visible))
        own = self.query_segment[:, None, begin:end, None].expand(*mass.shape[:3], 1)
        known = (own >= 0) & (own < mass.shape[-1])
        at = own.clamp(0, mass.shape[-1] - 1)
        # A segment that no key has: nothing of it is seen, and its mass is 0 where the row sees anything.
        there = torch.gather(mass, -1, at).masked_fill(~known, 0.0) + 0.0 * mass.sum(-1, keepdim=True)
        yield "own_segment_mass", there.masked_fill(own < 0, math.nan)[..., 0]
        yield "own_segment_visible", torch.gather(visible, -1, at).masked_fill(~known, 0)[..., 0]


def _check(call: AttentionCall, groups: Groups) -> None:
    for name, length in (
        ("keys", call.n_keys),
        ("segments", call.n_keys),
        ("tokens", call.n_keys),
        ("query_segments", call.n_queries),
        ("query_tokens", call.n_queries),
    ):
        labels = getattr(groups, name)
        if labels is not None and tuple(labels.shape[:2]) != (call.batch, length):
            raise CallError(
                f"groups.{name}: expected (batch, position) = ({call.batch}, {length}), got {tuple(labels.shape[:2])}"
            )


def _membership(name: str, labels: Tensor) -> Tensor:
    count = labels.shape[2] if labels.dim() == 3 else max(1, int(labels.max()) + 1)
    if count > MOST_GROUPS:
        raise CallError(
            f"groups.{name}: expected at most {MOST_GROUPS} groups, got {count}; "
            "number labels from 0, as torch.unique(labels, return_inverse=True) does"
        )
    if labels.dim() == 3:
        return labels.float()
    return (labels[..., None] == torch.arange(count, device=labels.device)).float()


def _of_queries(call: AttentionCall, name: str, labels: Tensor, given: Tensor | None) -> Tensor:
    """Label of each query, ``(batch, query)``: its own or that of the key where it stands; negative where none."""
    device = call.query.device
    if given is not None:
        return given.to(device, torch.int64)
    if call.offset is None:
        raise CallError(f"groups.{name}: queries share no positions with the keys here; give query_{name} too")
    own = torch.arange(call.n_queries, device=device) + call.offset
    inside = (own >= 0) & (own < call.n_keys)
    return labels.to(device, torch.int64)[:, own.clamp(0, call.n_keys - 1)].masked_fill(~inside, NO_QUERY)


def _token_matches(call: AttentionCall, tokens: Tensor, query_tokens: Tensor | None) -> Iterator[Match]:
    """Keys of the query's own token, and keys that follow an earlier occurrence of it.

    An occurrence counts where it is no padding and of the same packed document as the key that follows it.
    """
    device, offset = call.query.device, call.offset
    query = _of_queries(call, "tokens", tokens, query_tokens)
    key = tokens.to(device, torch.int64)
    # Small numbers for any ids: comparing 32 bits takes half the time of 64.
    key_number, query_number, _ = numbered(key, query)
    query = query_number.to(torch.int32).masked_fill_(query < 0, NO_QUERY)
    key = key_number.to(torch.int32).masked_fill_(key < 0, NO_KEY)
    position = torch.arange(call.n_queries, dtype=torch.int32, device=device)
    own = None if offset is None else position + offset
    nowhere = torch.full_like(position, NO_QUERY)
    yield Match("same_token", query, key, nowhere if own is None else own, torch.ne)
    before = torch.nn.functional.pad(key[:, :-1], (1, 0), value=NO_KEY)
    rules = call.visibility
    if rules.keys is not None:
        real = rules.keys.to(device)
        before[:, 1:] = before[:, 1:].masked_fill(~real[:, :-1], NO_KEY)
    if rules.documents is not None:
        labels = rules.documents.to(device)
        before[:, 1:] = before[:, 1:].masked_fill(labels[:, 1:] != labels[:, :-1], NO_KEY)
    undefined = torch.full_like(query, NO_QUERY)
    yield Match("induction", undefined if own is None else query, before, nowhere if own is None else own, torch.le)
