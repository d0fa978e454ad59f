"""Excerpts of text for measuring remedies, and others for fitting temperatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.evidence import Array
from heedful.ngrams.derivation.affinities import probability
from heedful.ngrams.derivation.expected import expected_rows
from heedful.ngrams.derivation.shared_factors import LIMIT, SharedFactors
from heedful.ngrams.derivation.table import NgramTable

FITTING = 64
"""Pieces that temperatures and weights of mixtures are fitted on."""

EVERY = 3
"""One document in so many is for fitting."""

Tables = Mapping[tuple[int, int], NgramTable]


@dataclass(frozen=True)
class Pieces:
    """Text excerpts of equal length, as token ids.

    Attributes:
        tokens: ``(sequence, position)`` token numbers.
        document: ``(sequence,)`` labels.
    """

    tokens: np.ndarray
    document: np.ndarray

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or self.tokens.shape[1] < 3 or self.document.shape != self.tokens.shape[:1]:
            raise UsageError(
                f"expected tokens (sequence, at least 3 positions) and one label a sequence; came "
                f"{self.tokens.shape} and {self.document.shape}"
            )

    @property
    def rows(self) -> np.ndarray:
        """Judged query positions, ``(row,)``: all but the first."""
        return np.arange(1, self.tokens.shape[1])


@dataclass(frozen=True)
class Material:
    """Count tables and text excerpts of one suite.

    Attributes:
        tables: Counts by context length and skip, at least n = 1, skip 0.
        measured: What is measured.
        fitting: What is fitted on, none of it measured.
        unseen: Counts of other text, or None.
        spreads: Of a trained model's logits, by layer and head, or None.
        shared: Decompositions that variants have in common.
    """

    tables: Tables
    measured: Pieces
    fitting: Pieces
    unseen: Tables | None = None
    spreads: Sequence[Sequence[float]] | None = None
    shared: SharedFactors = field(default_factory=lambda: SharedFactors(LIMIT), repr=False)
    _expected: dict[tuple[str, int, int], Array] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if (1, 0) not in self.tables:
            raise UsageError("the suite needs counts of n=1 skip=0 (heedful ngrams count --n 1..2 --skip 0..3)")

    @property
    def first(self) -> NgramTable:
        """Count table of single-token contexts."""
        return self.tables[1, 0]

    def expected(self, which: str, n: int, skip: int = 0) -> Array:
        """Return the expected weights of every judged row, ``(sequence, row, position)``.

        Args:
            which: ``measured``, ``fitting``, or ``unseen``: the measured pieces by counts of other text.
            n: Tokens of the contexts.
            skip: Tokens between these and what was counted.

        Raises:
            UsageError: Those counts were not made.
        """
        if (which, n, skip) not in self._expected:
            tables = self.unseen or {} if which == "unseen" else self.tables
            if (n, skip) not in tables:
                raise UsageError(
                    f"no counts of n={n} skip={skip} (heedful ngrams count --n 1..{n} --skip 0..{max(3, skip)})"
                )
            pieces = self.fitting if which == "fitting" else self.measured
            table, likelihood = tables[n, skip], probability(tables[n, skip])
            self._expected[which, n, skip] = np.stack(
                [expected_rows(table, tokens, pieces.rows, likelihood) for tokens in pieces.tokens]
            )
        return self._expected[which, n, skip]


def parted(windows: Sequence[Sequence[int]], sources: Sequence[str], sequences: int) -> tuple[Pieces, Pieces]:
    """Split windows into excerpts to measure and excerpts to fit temperatures on; no document contributes to both.

    Args:
        windows: Token numbers, all of one length.
        sources: Name of the document of each.
        sequences: Most pieces to measure.

    Raises:
        InputRejected: They are of fewer than two documents, or of unequal length.
    """
    names = list(dict.fromkeys(sources))
    if len(names) < 2 or len({len(window) for window in windows}) != 1:
        raise InputRejected(
            "text", f"{len(windows)} whole pieces of {len(names)} documents", "give more text, or a smaller --length"
        )
    label = np.array([names.index(source) for source in sources])
    tokens = np.array([list(window) for window in windows])
    apart = label % EVERY == min(EVERY, len(names)) - 1
    kept, fitted = np.flatnonzero(~apart)[:sequences], np.flatnonzero(apart)[:FITTING]
    return Pieces(tokens[kept], label[kept]), Pieces(tokens[fitted], label[fitted])
