"""Result of an engine: moments (entropy, mass and others) of each query row and of each key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from heedful.attention.engines.groups import Groups


@dataclass(frozen=True)
class Extras:
    """Optional moments to compute; each needs another pass over the weights.

    Attributes:
        groups: Labels of positions; gives masses and visible counts of groups, segments, same and induction tokens.
        distances: Whether to return ``distance_mass``.
        contrast: Whether to return ``log_contrast``.
        only: Names of the standing row moments that are wanted; an engine may leave out the others, and what keys
            received: NaN. None: all of them.
        pools: ``(pool, batch)`` 0 or 1, sequences whose weights are to be summed, by pool; ``tiled`` does so where a
            call fits one block, and no other engine does.
    """

    groups: Groups | None = None
    distances: bool = False
    contrast: bool = False
    only: frozenset[str] | None = None
    pools: Tensor | None = None

    def wants(self, name: str) -> bool:
        """Return whether the moment ``name`` is requested: it is in ``only``, or ``only`` is None."""
        return self.only is None or name in self.only


@dataclass(frozen=True)
class RowMoments:
    """Moments of each query's attention weights, ``(batch, head, query)`` unless stated; NaN if a query sees no key.

    Attributes:
        visible: Number of visible keys, int64; 0 at rows that see nothing.
        logsumexp: ``Z``, the log normaliser in nats (with the learned sink where there is one).
        total: Sum of the weights: 1, or less with a learned sink.
        entropy: ``-sum A log A`` in nats.
        max_weight: Largest weight.
        collision: ``sum A^2``, whose inverse is the Renyi-2 effective number of keys.
        mean_position: Mean key position, counted from the first key that the sequence shows to any query;
            in packed documents from the first of the row's own document.
        self_mass: Weight on the query's own position; NaN where queries and keys share no positions.
        previous_mass: Weight on the position before the query's own; NaN for the first.
        first_mass: Weight on the first key that the sequence shows to any query; in packed documents on the first of
            the row's own document.
        local_mass: Weight within 5 positions of the query's own, itself included.
        lag_overlap: ``A_i . A_(i+1)``: what a row shares with the next query's row; NaN for the last.
        distant_overlap: ``A_i . A_(i+10)``; NaN for the last ten.
        n_keys: Length of the key axis, unseen keys included.
        has_sink: Whether a learned sink may take weight; False says that ``total`` is 1, or NaN.
        none_empty: Whether the rules alone say that every query sees a key.
        group_mass: ``(batch, head, query, group)`` weight on each group of keys, or None.
        group_visible: ``(batch, head, query, group)`` number of visible keys of each group, or None.
        segment_mass: ``(batch, head, query, segment)`` weight on each segment, or None.
        segment_visible: ``(batch, head, query, segment)`` number of visible keys of each segment, or None.
        own_segment_mass: Weight on the segment of the query itself, or None; NaN where the query is of none.
        own_segment_visible: Number of visible keys of the query's segment, or None.
        same_token_mass: Weight on keys of the query's own token, its own position left out (that is ``self_mass``), or
            None; NaN where the query has no token.
        same_token_visible: Number of visible keys of the query's own token, its own position left out, or None.
        induction_mass: Weight on keys that directly follow an earlier occurrence of the query's token (Olsson et al.
            2022, arXiv:2209.11895), or None; 0 where it has not occurred, NaN where the query has no token or no
            position among the keys. An occurrence is no padding and of the key's own packed document.
        induction_visible: Number of visible keys that follow an earlier occurrence of the query's token, or None.
        distance_mass: ``(batch, head, query, bin)`` weight by distance, bins of ``core.axes.DISTANCE_EDGES``, or None.
        log_contrast: Mean log weight 1..5 positions away minus that further away (own and first key left out,
            log weights floored at -30), or None; NaN where either side is empty.
    """

    visible: Tensor
    logsumexp: Tensor
    total: Tensor
    entropy: Tensor
    max_weight: Tensor
    collision: Tensor
    mean_position: Tensor
    self_mass: Tensor
    previous_mass: Tensor
    first_mass: Tensor
    local_mass: Tensor
    lag_overlap: Tensor
    distant_overlap: Tensor
    n_keys: int
    has_sink: bool = True
    none_empty: bool = False
    group_mass: Tensor | None = None
    group_visible: Tensor | None = None
    segment_mass: Tensor | None = None
    segment_visible: Tensor | None = None
    own_segment_mass: Tensor | None = None
    own_segment_visible: Tensor | None = None
    same_token_mass: Tensor | None = None
    same_token_visible: Tensor | None = None
    induction_mass: Tensor | None = None
    induction_visible: Tensor | None = None
    distance_mass: Tensor | None = None
    log_contrast: Tensor | None = None

    @cached_property
    def normalised_entropy(self) -> Tensor:
        """Entropy in nats of the weights rescaled to sum to 1 over the keys; differs from ``entropy`` only if a
        learned sink takes part of the weight.
        """
        if not self.has_sink:
            return self.entropy
        return (self.entropy / self.total + self.total.log()).clamp_min(0)


@dataclass(frozen=True)
class KeyMoments:
    """Moments of each key's received weight, ``(batch, head, key)``.

    Attributes:
        received: Sum over queries of the weight on this key.
        seen_by: Number of queries that see the key, int64.
    """

    received: Tensor
    seen_by: Tensor


@dataclass(frozen=True)
class Moments:
    """Moments (entropy, mass and others) of all rows and keys of one attention call.

    Attributes:
        rows: Per query.
        keys: Per key.
        output: ``(batch, head, query, value_dim)`` weighted sum of values, 0 at rows that see nothing; None without
            values.
        engine: Name of the engine that computed it.
        pooled: ``(pool, head, query, key)`` sum of the weights over the sequences of each pool, or None.
    """

    rows: RowMoments
    keys: KeyMoments
    output: Tensor | None
    engine: str
    pooled: Tensor | None = None

    @property
    def empty_rows(self) -> int:
        """Number of (batch, head, query) rows without a visible key."""
        return int((self.rows.visible == 0).sum())
