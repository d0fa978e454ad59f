"""Variant of the suite, settings shared by all variants, and selection of variants.

Excerpts of text for measuring remedies, and others for fitting temperatures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import numpy as np
from torch import nn

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.evidence import Array
from heedful.ngrams.derivation.affinities import probability
from heedful.ngrams.derivation.factors import LIMIT, SharedFactors
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.derivation.row_alignment import expected_rows
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


LARGEST_RANK = 1_024
"""Most components of a variant that keeps them all."""

LARGE, LARGE_RANK = 8_192, 128
"""Tokens beyond which such a variant keeps fewer, and how many: a suite costs what decomposing ten matrices costs."""

Oracle = Callable[[Material, np.ndarray, int], np.ndarray]
"""Material, tokens ``(sequence, position)`` and seed to logits ``(sequence, row, position)`` of rows from the second
on; what lies behind a row is hidden later."""


@dataclass(frozen=True)
class GivenHeads:
    """Heads of a model that the user gave.

    Attributes:
        heads: Model, layer and head, one a seed.
    """

    heads: Sequence[tuple[nn.Module, int, int]]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to compute attention, with the variant that it modifies.

    Attributes:
        name: Its word.
        group: What kind of change it is.
        change: What it does, in words.
        against: The earlier variant that it changes; empty where it changes none.
        source: A recipe, logits computed without any matrix, or heads of given models.
        fed: Fields of the derived model's config that are changed afterwards: what it is fed that its matrices were
            not derived for.
        temperature: ``own``, or the ``best`` one on pieces of text that are not measured.
        n: Tokens of the contexts whose counts it is held against.
        skip: Tokens between these contexts and what was counted.
        layer: Of the derived model, whose first head is measured.
    """

    name: str
    group: str
    change: str
    source: DerivationRecipe | Oracle | GivenHeads
    against: str = ""
    fed: Mapping[str, str] = field(default_factory=dict)
    temperature: str = "own"
    n: int = 1
    skip: int = 0
    layer: int = 0

    @property
    def wanted(self) -> set[tuple[int, int]]:
        """Pairs (context length, skip) of the count tables that the variant needs."""
        own = {(self.n, self.skip)}
        if isinstance(self.source, DerivationRecipe):
            return self.source.wanted() | own
        if isinstance(self.source, GivenHeads):
            return own
        return {(length, 0) for length in range(1, self.n + 1)} | own


@dataclass(frozen=True)
class RemedyContext:
    """Settings shared by all recipes of a suite.

    Attributes:
        vocabulary: Tokens there are.
        width: Of the embeddings.
        head_dim: Components a head, where a variant does not name them.
    """

    vocabulary: int
    width: int
    head_dim: int = 64

    @property
    def published(self) -> DerivationRecipe:
        """Published recipe, reduced to one head."""
        return replace(
            RECIPES["seed"], width=self.width, head_dim=self.head_dim, layers=1, heads=1, longest=1, furthest=0,
            inner=0, value="copy", value_calibration="raw",
        )  # fmt: skip

    @property
    def bare(self) -> DerivationRecipe:
        """The published recipe with embeddings unchanged and no norm, positions or scaling: queries and keys alone
        shape attention.
        """
        return replace(
            self.published, kept="embedding", positions="none", attention_input="none", calibration="raw"
        )  # fmt: skip

    @property
    def exact(self) -> DerivationRecipe:
        """The ``bare`` recipe with a least-squares encoder and as many components as the sizes allow."""
        rank = min(self.vocabulary, self.width, LARGEST_RANK if self.vocabulary <= LARGE else LARGE_RANK)
        return replace(self.bare, encoder="pseudo_inverse", head_dim=rank)

    @property
    def log_p(self) -> DerivationRecipe:
        """The ``exact`` recipe with the affinity matrix ``log P(token | context)``."""
        return replace(self.exact, affinity="log_probability")


def chosen(suite: Sequence[Variant], words: Sequence[str]) -> list[Variant]:
    """Select variants by name or group, with the variants that they modify, in the order of the suite.

    Args:
        suite: The whole.
        words: Names of variants or groups; none for all.

    Raises:
        UsageError: A word is neither.
    """
    names, groups = {variant.name: variant for variant in suite}, {variant.group for variant in suite}
    for word in words:
        if word not in names and word not in groups:
            message, near = (
                ", ".join(dict.fromkeys(variant.group for variant in suite)),
                get_close_matches(word, names, 5),
            )
            like = f"; variants of a like name: {', '.join(near)}" if near else ""
            raise UsageError(f"--variants {word}: no variant or group of that name; groups: {message}{like}")
    wanted = {variant.name for variant in suite if not words or variant.name in words or variant.group in words}
    waiting = list(wanted)
    while waiting:
        base = names[waiting.pop()].against
        if base and base not in wanted:
            wanted.add(base)
            waiting.append(base)
    return [variant for variant in suite if variant.name in wanted]
