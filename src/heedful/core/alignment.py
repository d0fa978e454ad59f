"""Records of how attention agrees with what n-gram counts predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heedful.core.effect import Effect


@dataclass(frozen=True, kw_only=True)
class HeadAlignment:
    """One head's agreement with the attention that one table of counts predicts; means over documents.

    Attributes:
        layer: Layer index in the order of calls.
        path: Module path of the layer.
        head: Query head.
        n: Tokens of the table's contexts.
        skip: Tokens between a context and the token it speaks of.
        divergence: KL(expected || actual) in nats.
        uniform: KL(expected || uniform over the visible keys).
        gain: ``uniform - divergence``: above 0 better than uniform attention, below 0 worse.
        cosine: Of expected and actual rows.
        match: Share of rows whose most attended key is among those most expected.
        chance: Share of visible keys that would match.
    """

    layer: int
    path: str
    head: int
    n: int
    skip: int
    divergence: Effect
    uniform: Effect
    gain: Effect
    cosine: Effect
    match: Effect
    chance: Effect

    @property
    def skill(self) -> Effect:
        """``gain`` over the mean of ``uniform``: 1 exact, 0 as uniform attention, negative worse."""
        size = self.uniform.estimate
        share = [
            value / size if size > 0 else float("nan") for value in (self.gain.estimate, self.gain.low, self.gain.high)
        ]
        return Effect(estimate=share[0], low=share[1], high=share[2], n=self.gain.n)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Heads of a model beside counts.

    Attributes:
        model: Its name.
        counts: Where the counts came from.
        rows: Rows with an expectation, of all rows from the second on, as a share.
        sequences: Sequences read.
        documents: Documents they are of.
        heads: One record a head and table, in order of layer, head and table.
        unmet: Path to why its attention could not be met.
    """

    model: str
    counts: str
    rows: float
    sequences: int
    documents: int
    heads: Sequence[HeadAlignment]
    unmet: dict[str, str]
