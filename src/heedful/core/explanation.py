"""Records of why derived attention is as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heedful.core.effect import Effect


@dataclass(frozen=True, kw_only=True)
class ScaledLayer:
    """One layer's attention at one scale of the matrices; means over heads, and over documents where an ``Effect``.

    Attributes:
        layer: Layer index.
        entropy: Mean entropy in nats, rows from the second on.
        share: Entropy over its causal ceiling ``log(i + 1)``, mean of the rows.
        largest: Largest weight of a row.
        logit: Mean size of the logits that are softmaxed.
        spread: Their standard deviation within a row.
        divergence: KL(expected || actual) in nats, with the table of the layer's contexts and each head's skip.
        uniform: The same of equal weights.
        match: Share of rows whose most attended key is among the most expected.
    """

    layer: int
    entropy: Effect
    share: Effect
    largest: Effect
    logit: float
    spread: float
    divergence: Effect
    uniform: Effect
    match: Effect

    @property
    def skill(self) -> float:
        """1 - KL / KL of equal weights."""
        return 1 - self.divergence.estimate / self.uniform.estimate


@dataclass(frozen=True, kw_only=True)
class Scale:
    """All layers at one scale.

    Attributes:
        std: Standard deviation that query and key, value and output matrices were brought to; None for the model's own.
        raw: Mean size of ``q . k`` of the bare token embeddings, first layer and head: what was once taken for logits.
        layers: Top to bottom.
    """

    std: float | None
    raw: float
    layers: Sequence[ScaledLayer]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Queries and keys of the first head beside the affinity they were made for.

    Attributes:
        asymmetry: Largest ``|A - A^T|`` of the affinity over its largest entry; NaN where it is not square.
        similarity: Mean and standard deviation of inner products of different embeddings.
        null: What random embeddings of that width have: 0 and ``1 / sqrt(width)`` times their squared length.
        overlap: Share of the left factors that lies in the span of the embeddings.
        coincidence: ``|u_i . v_i|`` of the leading factors: 1 where queries and keys read the same direction.
        correlation: Of the model's scores, centred in each row, with the affinity's, over all pairs of tokens.
        error: Norm of what is left of the affinity's rows after the best common factor on the scores, over its own.
    """

    asymmetry: float
    similarity: tuple[float, float]
    null: float
    overlap: float
    coincidence: Sequence[float]
    correlation: float
    error: float


@dataclass(frozen=True, kw_only=True)
class FirstHead:
    """One head beside the table it was derived from, means over documents, in nats.

    Attributes:
        divergence: KL(expected || actual).
        uniform: The same of equal weights.
        factor: Factor on its logits at which the divergence is least.
        least: The divergence there.
    """

    divergence: float
    uniform: float
    factor: float
    least: float

    @property
    def skill(self) -> float:
        """1 - KL / KL of equal weights."""
        return 1 - self.divergence / self.uniform

    @property
    def best_skill(self) -> float:
        """The same at the best factor."""
        return 1 - self.least / self.uniform


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a derived model attends as it does.

    Attributes:
        model: Its name.
        recipe: Field to value.
        tokens: Tokens of a document.
        documents: How many were read.
        ceiling: Mean of ``log(i + 1)`` over a document's rows from the second on, in nats.
        own: The model as it is.
        scales: The sweep.
        first_head: The first layer's first head beside its table.
        geometry: Of the first head.
        cause: The paragraph that follows from the numbers.
    """

    model: str
    recipe: dict[str, object]
    tokens: int
    documents: int
    ceiling: float
    own: Scale
    scales: Sequence[Scale]
    first_head: FirstHead
    geometry: Geometry
    cause: str
