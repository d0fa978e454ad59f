"""Sum agreement measures over rows, by sequence and head, and convert the sums to records.

Predict attention from counts for the rows of one batch, computed once for all layers.

Compute skill, ``1 - KL / KL_uniform``: how much closer attention is to the expected weights than uniform attention
is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heedful.evaluation.evidence import Array
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import AT_LEAST_0, SHARE, SKILL, UNBOUNDED, Effect, mean_interval
from heedful.inference.signflip import sign_flip
from heedful.inference.units import document_means
from heedful.ngrams.alignment.record import ROUNDING, HeadAlignment, UnseenAgreement
from heedful.ngrams.derivation.affinities import Affinity, probability
from heedful.ngrams.derivation.row_alignment import expected_rows, row_alignment
from heedful.ngrams.derivation.table import NgramTable

if TYPE_CHECKING:
    from heedful.ngrams.derivation.row_alignment import RowAlignment


NAMES = ("divergence", "uniform", "frequency", "cosine", "match", "chance")
RANGES = dict.fromkeys(("divergence", "uniform", "frequency"), AT_LEAST_0)
RANGES |= dict.fromkeys(("cosine", "match", "chance"), SHARE) | dict.fromkeys(("skill", "unseen_skill"), SKILL)
"""What each mean can be; differences have no bounds."""

UNSEEN = ("divergence", "uniform", "unseen_divergence", "unseen_uniform")


class AlignedLayer:
    """Sums of agreement measures for one layer.

    Args:
        path: Of its module.
        heads: Query heads.
        total: Sequences.
        keys: Tables.

    Attributes:
        sums: By table, ``(sequence, head, name)`` over the rows with an expectation.
        rows: By table, how many these are, ``(sequence,)``.
        unseen: By table, ``(sequence, head, name)`` over the rows with both expectations.
        unseen_rows: How many these are.
        seen: Rows from the second on.
    """

    def __init__(self, path: str, heads: int, total: int, keys: Iterable[Key]) -> None:
        known = list(keys)
        self.path, self.heads, self.seen = path, heads, 0
        self.sums = {key: np.zeros((total, heads, len(NAMES))) for key in known}
        self.rows = {key: np.zeros(total) for key in known}
        self.unseen = {key: np.zeros((total, heads, len(UNSEEN))) for key in known}
        self.unseen_rows = {key: np.zeros(total) for key in known}

    def add(self, key: Key, index: int, found: RowAlignment, frequency: Array) -> None:
        """Add the agreement measures of one sequence's rows to the sums of one count table.

        Args:
            key: The table.
            index: The sequence.
            found: Numbers a head and row.
            frequency: KL to attention by frequency, ``(row,)``.
        """
        columns = (
            *(found.divergence, found.uniform_divergence, frequency),
            *(found.cosine, found.match, found.uniform_match),
        )
        self.rows[key][index] += _added(self.sums[key][index], columns, ~np.isnan(found.uniform_divergence))

    def add_unseen(self, key: Key, index: int, counts: RowAlignment, unseen: RowAlignment) -> None:
        """Add the divergences of rows for which the counts and the held-out counts both predict attention.

        Args:
            key: The table.
            index: The sequence.
            counts: By the counts.
            unseen: By the held-out counts.
        """
        columns = (counts.divergence, counts.uniform_divergence, unseen.divergence, unseen.uniform_divergence)
        both = ~np.isnan(counts.uniform_divergence) & ~np.isnan(unseen.uniform_divergence)
        self.unseen_rows[key][index] += _added(self.unseen[key][index], columns, both)


def _added(sums: Array, columns: Sequence[Array], kept: Array) -> int:
    shape = columns[0].shape
    wide = np.stack([np.broadcast_to(column, shape) for column in columns], axis=-1)
    sums += wide[:, kept].sum(axis=1)
    return int(kept.sum())


def head_records(layers: Sequence[AlignedLayer], document: Array, seed: int, resamples: int) -> list[HeadAlignment]:
    """Return one record for each head and count table, ordered by layer, head and table.

    Args:
        layers: Sums, in order.
        document: Of each sequence, ``(sequence,)``.
        seed: Of the sign flips.
        resamples: How many.
    """
    keys = sorted(layers[0].sums)
    means = [[_means(layer.sums[key], layer.rows[key], document) for key in keys] for layer in layers]
    chances = _chances(means, seed, resamples)
    found = []
    for number, layer in enumerate(layers):
        for place, key in enumerate(keys):
            effects = _effects(means[number][place], (*NAMES, "skill", "gain", "over_frequency"))
            unseen = _unseen(layer, key, document)
            found += [
                HeadAlignment(
                    layer=number, path=layer.path, head=head, n=key[0], skip=key[1], **effects[head],
                    p=float(chances[number][place][head]), unseen=unseen[head],
                )
                for head in range(layer.heads)
            ]  # fmt: skip
    return sorted(found, key=lambda one: (one.layer, one.head, one.n, one.skip))


def _means(sums: Array, rows: Array, document: Array) -> Array:
    """Means over a document's sequences, ``(document, head, name)``, the skill, and gains over the two baselines."""
    means = np.full(sums.shape, np.nan)
    np.divide(sums, rows[:, None, None], out=means, where=rows[:, None, None] > 0)
    with np.errstate(invalid="ignore"):
        gains = means[..., 1:3] - means[..., 0:1]
        gains = np.where(np.abs(gains) < ROUNDING, 0.0, gains)
    means, gains = document_means(means, document), document_means(gains, document)
    return np.concatenate([means, skill_by_document(means[..., :1], means[..., 1:2]), gains], axis=-1)


def _chances(means: Sequence[Sequence[Array]], seed: int, resamples: int) -> list[list[Array]]:
    """The p of each head and table: the larger of two, both adjusted for the one family of all comparisons."""
    shapes = [[part.shape[1] for part in row] for row in means]
    flat = np.concatenate([part[..., -2:] for row in means for part in row], axis=1)
    adjusted = np.asarray(sign_flip(flat, resamples=resamples, seed=seed, alternative="greater").p_adjusted)
    found: list[list[Array]] = []
    largest, begin = adjusted.max(-1), 0
    for row in shapes:
        found.append([])
        for heads in row:
            found[-1].append(largest[begin : begin + heads])
            begin += heads
    return found


def _effects(values: Array, names: Sequence[str]) -> list[dict[str, Effect]]:
    """By head, each column with its interval over documents."""
    ranges = np.array([RANGES.get(name, UNBOUNDED) for name in names]).T
    interval = mean_interval(values, within=(ranges[0], ranges[1]))
    return [
        {name: _effect(interval.at(head, column)) for column, name in enumerate(names)}
        for head in range(values.shape[1])
    ]


def _unseen(layer: AlignedLayer, key: Key, document: Array) -> Sequence[UnseenAgreement | None]:
    rows = layer.unseen_rows[key]
    if not rows.any():
        return [None] * layer.heads
    means = np.full(layer.unseen[key].shape, np.nan)
    np.divide(layer.unseen[key], rows[:, None, None], out=means, where=rows[:, None, None] > 0)
    own, uniform, other, other_uniform = np.moveaxis(document_means(means, document), -1, 0)
    skills = skill_by_document(own, uniform), skill_by_document(other, other_uniform)
    columns = np.stack([*skills, skills[0] - skills[1]], axis=-1)
    names = ("skill", "unseen_skill", "memory")
    share = float(rows.sum() / max(layer.seen, 1))
    return [UnseenAgreement(**one, rows=share) for one in _effects(columns, names)]


def _effect(interval: Interval) -> Effect:
    low, high, middle = (float(value) for value in (interval.low, interval.high, interval.estimate))
    return Effect(estimate=middle, low=low, high=high, n=int(interval.units))


Key = tuple[int, int]
"""Tokens in a context, and skip."""

Seen = NDArray[np.bool_]
"""Which keys a query sees."""

KEPT = 1 << 23
"""Numbers that are kept for the next layer; beyond it they are reckoned again."""


@dataclass(frozen=True)
class Expectation:
    """Attention weights that one count table predicts for some rows of one sequence.

    Attributes:
        counts: Expected weights ``(row, key)``; NaN in rows without an expectation.
        unseen: The same by the held-out counts, or None.
        frequency: KL from ``counts`` to attention by frequency, ``(row,)``.
    """

    counts: Array
    unseen: Array | None
    frequency: Array


@dataclass
class Expectations:
    """Predictions of all count tables for the current batch.

    Attributes:
        tables: Counts.
        unseen: Held-out counts of the same contexts and skips; empty for none.
    """

    tables: Mapping[Key, NgramTable]
    unseen: Mapping[Key, NgramTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._likelihoods = {id(table): probability(table) for table in (*self.tables.values(), *self.unseen.values())}
        self._kept: dict[tuple[int, int, Key, bytes], Expectation] = {}
        self._size = 0

    def forget(self) -> None:
        """Drop all cached predictions; call this when the batch changes."""
        self._kept, self._size = {}, 0

    def of(
        self, place: int, tokens: np.ndarray, rows: np.ndarray, key: Key, visible: Seen | None = None
    ) -> Expectation:
        """Return the attention that one count table predicts for some rows.

        Args:
            place: Of the sequence in the batch.
            tokens: ``(position,)`` its tokens.
            rows: Positions of the queries.
            key: The table.
            visible: ``(row, position)``, where a layer's queries see fewer keys than all up to them.
        """
        window = b"" if visible is None else np.packbits(visible).tobytes()
        name = (place, int(rows[0]) if len(rows) else -1, key, window)
        if name in self._kept:
            return self._kept[name]
        expected = self._rows(self.tables[key], tokens, rows, visible)
        unseen = self._rows(self.unseen[key], tokens, rows, visible) if key in self.unseen else None
        logs = frequency_log_weights(self.tables[key], tokens, rows, visible)
        found = Expectation(expected, unseen, row_alignment(expected, logs, rows, visible).divergence)
        self._size += 2 * expected.size
        if self._size <= KEPT:
            self._kept[name] = found
        return found

    def _rows(self, table: NgramTable, tokens: np.ndarray, rows: np.ndarray, visible: Seen | None) -> Array:
        likelihood: Affinity = self._likelihoods[id(table)]
        return expected_rows(table, tokens, rows, likelihood, visible)


def frequency_log_weights(
    table: NgramTable, tokens: np.ndarray, rows: np.ndarray, visible: Seen | None = None
) -> Array:
    r"""Return log weights of attention by token frequency, without context.

    .. math:: A_{ik} = c(t_k) / \sum_{j \le i} c(t_j)

    Counts of a shuffled text would expect this of every row, the longer it is the more nearly.
    Where no token in view was counted, weights are equal.

    Args:
        table: Counts.
        tokens: ``(position,)``.
        rows: Positions of the queries.
        visible: ``(row, key)``, where queries see fewer keys than all up to them.

    Returns:
        ``(row, key)`` natural logs, -inf behind the query and at tokens that were never counted.
    """
    seen = np.arange(len(tokens))[None, :] <= rows[:, None] if visible is None else visible
    weights = np.where(seen, table.column_sums[tokens][None, :], 0.0)
    none = weights.sum(-1, keepdims=True) == 0
    weights = np.where(none, seen.astype(float), weights)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights / np.maximum(weights.sum(-1, keepdims=True), 1.0)))


def skill_by_document(divergence: Array, uniform: Array) -> Array:
    r"""Return values per document, ``(document, ...)``, whose mean is the skill ``1 - KL / KL_uniform``.

    .. math:: s + (g_d - s\, u_d) / \bar u, \qquad g_d = u_d - \mathrm{KL}_d, \quad s = \bar g / \bar u

    Documents that expect sharper weights have more to gain; a quotient judged as one does not count that as
    uncertainty, so that a head that is exact has the interval [1, 1]. Source: the linearised ratio estimator, Cochran
    1977, Sampling Techniques, section 6.

    Args:
        divergence: ``(document, ...)``, NaN where a document has no row with an expectation.
        uniform: The same of uniform attention.

    Returns:
        ``(document, ...)``; NaN where the counts expect equal weights of every row.
    """
    gain = uniform - divergence
    known = np.isfinite(gain)
    total = np.where(known, uniform, 0.0).sum(axis=0)
    size = total / np.maximum(known.sum(axis=0), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        skill = np.where(size > ROUNDING, np.where(known, gain, 0.0).sum(axis=0) / total, np.nan)
        return np.asarray(skill + (gain - skill * uniform) / size)
