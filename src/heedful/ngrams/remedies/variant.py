"""Variant of the suite, settings shared by all variants, and selection of variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import numpy as np
from torch import nn

from heedful.errors import UsageError
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.remedies.text import Material

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
        """Published recipe without norm, positions and logit scaling, and with embeddings left unchanged, so that only
        queries and keys shape attention.
        """
        return replace(
            self.published, kept="embedding", positions="none", attention_input="none", calibration="raw"
        )  # fmt: skip

    @property
    def exact(self) -> DerivationRecipe:
        """The ``bare`` recipe with a least-squares encoder and as many components of the affinity matrix as
        vocabulary, width and a fixed limit allow.
        """
        rank = min(self.vocabulary, self.width, LARGEST_RANK if self.vocabulary <= LARGE else LARGE_RANK)
        return replace(self.bare, encoder="pseudo_inverse", head_dim=rank)

    @property
    def log_p(self) -> DerivationRecipe:
        """The ``exact`` recipe with the affinity matrix ``log P(token | context)``."""
        return replace(self.exact, affinity="log_probability")


def chosen(suite: Sequence[Variant], words: Sequence[str]) -> list[Variant]:
    """Select variants by name or group, together with the variants that they modify, in suite order.

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
