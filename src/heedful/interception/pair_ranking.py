"""Rank heads by their weight on given position pairs, compared with permuted pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import logits_at, normalisers_at
from heedful.errors import CaptureError, InputRejected, UsageError
from heedful.inference.signflip import Index, permuted_partners, ranked
from heedful.inference.units import Array
from heedful.interception.kept_calls import KeptCalls

PERMUTATIONS = 199
MOST_PAIRS = 200_000
_FORM = "[query, key] or [sequence, query, key]"
Pairs = NDArray[np.int64]
"""``(pair, 3)``: sequence, query, key."""

POINTS = 16_384
"""Pairs of all permutations whose logits are computed at once."""


def given_pairs(pairs: Any, subject: str = "pairs") -> Pairs:
    """Validate position pairs given as lists or as an array.

    Args:
        pairs: ``(pair, 2)``, query and key of the first sequence, or ``(pair, 3)``, with the sequence before them.
        subject: Their name in messages.

    Returns:
        ``(pair, 3)`` int64, each pair once.

    Raises:
        InputRejected: They are none, of another form, or negative.
    """
    rows = pairs.tolist() if hasattr(pairs, "tolist") else pairs
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | dict):
        raise InputRejected(subject, f"expected a list of {_FORM}, got {type(pairs).__name__}", "give index pairs")
    found = []
    for place, row in enumerate(rows):
        if place >= MOST_PAIRS:
            raise InputRejected(subject, f"expected at most {MOST_PAIRS:,} pairs", "give fewer")
        fits = isinstance(row, list | tuple) and len(row) in (2, 3) and all(_is_index(one) for one in row)
        if not fits:
            message = f"pair {place + 1}: expected {_FORM}, got {row!a:.60}"
            raise InputRejected(subject, message, "give positions from 0")
        found.append((0, *row) if len(row) == 2 else tuple(row))
    if not found:
        raise InputRejected(subject, "expected at least one pair, found none", f"give {_FORM}")
    return np.array(list(dict.fromkeys(found)), dtype=np.int64)


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


@dataclass(frozen=True, kw_only=True)
class RankedHead:
    """One head with its weight on the pairs and its p-values.

    Attributes:
        layer: Layer index in the order in which the model called its attention.
        module: Module path.
        head: Head index.
        mass: Mean weight on the key of a pair, over all pairs.
        permuted: The same over permuted pairs, the mean of all permutations.
        p: Share of matchings, permuted ones and the given one, with at least this mass.
        p_adjusted: The same for the largest standardised mass of any head.
    """

    layer: int
    module: str
    head: int
    mass: float
    permuted: float
    p: float
    p_adjusted: float


class PairRanking(Sequence[RankedHead]):
    """Heads ranked by weight on the pairs, largest first.

    Attributes:
        rows: The heads.
        pairs: Number of pairs.
        permutations: Permutations that form the null.
        others: Matchings among them that differ from the given one and from each other. Where they are few, no p can
            be small: causal pairs of neighbours allow hardly any exchange.
    """

    def __init__(self, rows: Sequence[RankedHead], pairs: int, permutations: int, others: int) -> None:
        self.rows, self.pairs, self.permutations, self.others = list(rows), pairs, permutations, others

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        return self.rows[place]

    def __repr__(self) -> str:
        first = self.rows[0]
        return (
            f"PairRanking({len(self)} heads on {self.pairs} pairs; first L{first.layer}H{first.head} {first.mass:.3f})"
        )


class Matchings:
    """The given pairs and their permutations.

    The keys of the pairs of a sequence are exchanged between its queries so that no key comes to lie behind its query,
    where the model hides the future.

    Args:
        pairs: ``(pair, 3)``.
        lengths: Tokens of each sequence.
        seed: Seed of the permutations.

    Raises:
        InputRejected: A pair lies outside of the text.
    """

    def __init__(self, pairs: Pairs, lengths: Sequence[int], seed: int) -> None:
        self.pairs, self.seed = pairs, seed
        self._keys: dict[int, Index] = {}
        for sequence, query, key in pairs.tolist():
            if sequence >= len(lengths) or max(query, key) >= lengths[sequence]:
                outside = sequence >= len(lengths)
                known = f"{len(lengths)} sequences" if outside else f"{lengths[sequence]} tokens in that sequence"
                message = f"pair ({sequence}, {query}, {key}) lies outside of the text, which has {known}"
                raise InputRejected("pairs", message, "count sequences and tokens from 0")

    def _keys_of(self, call: AttentionCall, place: int, own: Index, sequence: int) -> Index:
        """``(1 + permutation, pair)`` keys, the given ones first; the same for every call of a sequence."""
        if sequence not in self._keys:
            query, given = self.pairs[own, 1], self.pairs[own, 2]
            hidden = hides_future(call, place)
            if hidden and (later := given > query).any():
                message = (
                    f"pair ({sequence}, {query[later][0]}, {given[later][0]}): no query of this model sees a later key"
                )
                raise InputRejected("pairs", message, "give the query first")

            def allowed(which: Index, key: Index) -> NDArray[np.bool_]:
                return key <= query[which] if hidden else np.ones(len(key), dtype=bool)

            seed = self.seed * 7919 + sequence
            others = permuted_partners(query, given, allowed, permutations=PERMUTATIONS, seed=seed)
            self._keys[sequence] = np.concatenate([given[None], others])
        return self._keys[sequence]

    @property
    def others(self) -> int:
        """Number of distinct permutations that differ from the given pairs, counted over all sequences so far."""
        if not self._keys:
            return 0
        every = np.concatenate(list(self._keys.values()), axis=1)
        return len(np.unique(every, axis=0)) - 1

    def sums(self, call: AttentionCall, sequences: Sequence[int]) -> Tensor:
        """Return the sum of weights over the pairs of a call's sequences, for the given and permuted pairs.

        Args:
            call: The call.
            sequences: Which sequence of the text each of the call's is.

        Returns:
            ``(batch, head, 1 + permutation)`` float64; 0 for a sequence without pairs.
        """
        found = torch.zeros(call.batch, call.heads, 1 + PERMUTATIONS, dtype=torch.double, device=call.query.device)
        for place, sequence in enumerate(sequences):
            own = np.nonzero(self.pairs[:, 0] == sequence)[0]
            if len(own):
                found[place] = self._of_sequence(call, place, own, self._keys_of(call, place, own, sequence))
        return found

    def _of_sequence(self, call: AttentionCall, place: int, own: Index, every: Index) -> Tensor:
        device = call.query.device
        query = torch.from_numpy(self.pairs[own, 1]).to(device)
        used, row = query.unique(return_inverse=True)
        normaliser = normalisers_at(_sequence(call, place), used)[0][:, row].double()  # (head, pair)
        keys = torch.from_numpy(every).to(device)
        found = []
        step = max(1, POINTS // len(own))
        for begin in range(0, len(keys), step):
            some = keys[begin : begin + step]
            at = query.expand_as(some).reshape(-1)
            where = torch.full_like(at, place)
            flat = some.reshape(-1)
            logits = logits_at(call, where, at, flat).double()
            seen = call.visibility.at(where, at, flat, call.n_queries, call.n_keys)
            weights = (logits.view(call.heads, *some.shape) - normaliser[:, None]).exp()
            found.append(weights.masked_fill(~seen.view(some.shape), 0.0).sum(-1))
        return torch.cat(found, dim=1)


def hides_future(call: AttentionCall, place: int) -> bool:
    """Return whether all queries of a sequence have their next position masked."""
    if call.visibility.is_causal or call.offset is None:
        return call.visibility.is_causal
    query = torch.arange(min(call.n_queries, call.n_keys - call.offset) - 1, device=call.query.device)
    where = torch.full_like(query, place)
    return not bool(call.visibility.at(where, query, query + call.offset + 1, call.n_queries, call.n_keys).any())


def _sequence(call: AttentionCall, place: int) -> AttentionCall:
    one = slice(place, place + 1)
    bias = call.bias if call.bias is None or len(call.bias) == 1 else call.bias[one]
    return replace(
        call,
        query=call.query[one],
        key=call.key[one],
        value=None,
        visibility=call.visibility.part(one, slice(None)),
        bias=bias,
    )


def ranking(places: Sequence[tuple[int, str, int]], sums: Array, pairs: int, others: int) -> PairRanking:
    """Rank heads by their summed weights on the pairs.

    Args:
        places: Layer, module path and head of each.
        sums: ``(all heads, 1 + permutation)`` sums over all pairs.
        pairs: Number of pairs.
        others: Different matchings that stand behind the permutations.
    """
    means = sums / pairs
    p, adjusted = ranked(means[:, 0], means[:, 1:].T)
    rows = [
        RankedHead(
            layer=layer, module=module, head=head, mass=float(means[at, 0]), permuted=float(means[at, 1:].mean()),
            p=float(p[at]), p_adjusted=float(adjusted[at]),
        )
        for at, (layer, module, head) in enumerate(places)
    ]  # fmt: skip
    rows.sort(key=lambda row: -math.inf if math.isnan(row.mass) else -row.mass)
    return PairRanking(rows, pairs, means.shape[1] - 1, others)


def rank_kept(kept: KeptCalls, pairs: Any, seed: int) -> PairRanking:
    """Rank heads from the calls that a session stored for its first sequence.

    Args:
        kept: The calls.
        pairs: ``[[query, key], ...]``.
        seed: Seed of the permutations.

    Raises:
        CaptureError: No attention call was met.
        InputRejected: A pair lies outside of the sequence, or no query can see it.
        UsageError: A layer was too large to be kept.
    """
    if not kept.calls:
        raise CaptureError("rank_heads", "no attention call was met", "run the model inside the `with` block")
    found, places, sums = given_pairs(pairs), [], []
    matchings: Matchings | None = None
    for path, one in kept.calls.items():
        if one.call is None:
            raise UsageError(
                f"rank_heads: no room to keep {path}; capture fewer layers: heedful.capture(model, layers=...)"
            )
        if matchings is None:
            matchings = Matchings(found, [min(one.call.n_queries, one.call.n_keys)], seed)
        places += [(one.layer, path, head) for head in one.listed]
        with torch.no_grad():
            sums.append(matchings.sums(one.call, [0])[0].cpu().numpy())
    return ranking(places, np.concatenate(sums), len(found), matchings.others if matchings else 0)
