"""Sum agreement measures over rows, by sequence and head, and convert the sums to records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from heedful.evaluation.evidence import Array
from heedful.inference.effect import Effect
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import AT_LEAST_0, SHARE, SKILL, UNBOUNDED, mean_interval
from heedful.inference.signflip import sign_flip
from heedful.inference.units import document_means
from heedful.ngrams.alignment.record import ROUNDING, HeadAlignment, UnseenAgreement

if TYPE_CHECKING:
    from heedful.ngrams.alignment.expectation import Key
    from heedful.ngrams.derivation.row_alignment import RowAlignment
from heedful.ngrams.alignment.skill import skill_by_document

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
        """Add the divergences of rows for which both the counts and the held-out counts predict attention.

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
