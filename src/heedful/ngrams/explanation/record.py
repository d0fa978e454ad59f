"""Records that explain derived attention."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from heedful.inference.mean_interval import Effect
from heedful.reporting.shown_record import ShownRecord

FOCUS = ((0.9, "flat"), (0.5, "mild"), (0.1, "focused"))
"""Shares of the causal ceiling above which attention is called so; below the last it rests on one key."""

ONE_KEY = "one key"


@dataclass(frozen=True, kw_only=True)
class ScaledLayer:
    """Measurements of one layer at one scale of its matrices, averaged over heads.

    Attributes:
        layer: Layer index.
        entropy: Mean entropy in nats, rows from the second on.
        share: Entropy over its causal ceiling ``log(i + 1)``, mean of the rows.
        largest: Largest weight of a row.
        raw: Mean size of ``q . k`` of the bare token embeddings, first head: what was once taken for logits.
        logit: Mean size of the logits that are softmaxed.
        spread: Their standard deviation within a row.
        divergence: KL(expected || actual) in nats, with the table of the layer's contexts and each head's skip.
        uniform: The same of equal weights.
        match: Share of rows whose most attended key is among the most expected.
        chance: Share of visible keys that would match: what equal weights reach; None in records of before.
        paired_skill: ``skill`` with its interval, as one quotient within documents; None in records of before.
    """

    layer: int
    entropy: Effect
    share: Effect
    largest: Effect
    raw: float
    logit: float
    spread: float
    divergence: Effect
    uniform: Effect
    match: Effect
    chance: Effect | None = None
    paired_skill: Effect | None = None

    @property
    def skill(self) -> float:
        """Skill relative to uniform attention: ``1 - KL(expected || actual) / KL(expected || uniform)``."""
        return 1 - self.divergence.estimate / self.uniform.estimate

    @property
    def focus(self) -> str:
        """One word for how concentrated the layer is, from entropy divided by its causal maximum."""
        return next((word for least, word in FOCUS if self.share.estimate > least), ONE_KEY)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Measurements of all layers at one matrix scale.

    Attributes:
        std: Standard deviation that query and key, value and output matrices were brought to; None for the model's own.
        layers: Top to bottom.
    """

    std: float | None
    layers: Sequence[ScaledLayer]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Comparison of the first head's queries and keys with the affinity matrix they were computed from.

    Attributes:
        asymmetry: Largest ``|A - A^T|`` of the affinity over its largest entry: 0 where it is symmetric.
        similarity: Mean and standard deviation of inner products of different embeddings.
        null: What random embeddings of that width have: 0 and ``1 / sqrt(width)`` times their squared length.
        with_diagonal: Mean and standard deviation of all inner products, each embedding's with itself too.
        diagonal_null: What random embeddings have of these.
        overlap: Share of the left factors that lies in the span of the embeddings.
        overlap_null: Of random vectors: the rank of the embeddings over the number of tokens.
        shared: Overlap of the directions that queries and keys read: mean squared cosine of their principal angles,
            which no invertible change between the two alters.
        shared_null: Of random directions: the head's dimensions over the width.
        coincidence: ``|u_i . v_i|`` of the leading factors: 1 where queries and keys read the same direction.
        correlation: Of the model's scores, centred in each row, with the affinity's, over all pairs of tokens.
        error: Norm of what is left of the affinity's rows after the best common factor on the scores, over its own.
        product: Mean and largest size of the entries of ``W_Q^T W_K`` of the first head; None in records of before.
        product_diagonal: Its leading diagonal entries.
        factor_means: Mean entry of ``U^T E`` and of ``V^T E``, E the embeddings, as published; 0 whatever they hold.
        factor_largest: Largest size of a cosine of a column of U, of V with a column of E.
    """

    asymmetry: float
    similarity: tuple[float, float]
    null: float
    with_diagonal: tuple[float, float]
    diagonal_null: tuple[float, float]
    overlap: float
    overlap_null: float
    shared: float
    shared_null: float
    coincidence: Sequence[float]
    correlation: float
    error: float
    product: tuple[float, float] | None = None
    product_diagonal: Sequence[float] = ()
    factor_means: tuple[float, float] | None = None
    factor_largest: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """Singular values and error of the first head's affinity matrix.

    Attributes:
        shape: Contexts and tokens.
        density: Share of the counts' entries that are not 0.
        directions: Rank of the affinity; None where it is too large to tell.
        asked: Components asked for.
        singular_values: Those kept, largest first.
        condition: Largest over smallest kept: never under 1.
        energy: Share of the sum of squares that is kept, weighed as the recipe says.
        orthogonality: Largest ``|U^T U - 1|`` and ``|V^T V - 1|``.
        residual: Largest ``|A v - s u|`` and ``|A^T u - s v|`` over the largest singular value.
        note: What the choice of components leaves open, in words; empty where it leaves nothing open.
    """

    shape: tuple[int, int]
    density: float
    directions: int | None
    asked: int
    singular_values: Sequence[float]
    condition: float
    energy: float
    orthogonality: float
    residual: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class FirstHead:
    """One head compared with the count table it was derived from; means over documents, in nats.

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
        """Skill relative to uniform attention: ``1 - KL(expected || actual) / KL(expected || uniform)``."""
        return 1 - self.divergence / self.uniform

    @property
    def best_skill(self) -> float:
        """Skill at the best temperature."""
        return 1 - self.least / self.uniform


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation(ShownRecord):
    """Explanation of why a derived model attends as it does.

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
        decomposition: Of its affinity; None where its queries and keys are not of counts.
        cause: The paragraph that follows from the numbers.
        notes: What is to be known of the counts before the rest is read.
    """

    schema: ClassVar[str] = "heedful.explanation/1"
    page_by: ClassVar[str] = "heedful.ngrams.explanation.page:explanation_page"

    model: str
    recipe: dict[str, object]
    tokens: int
    documents: int
    ceiling: float
    own: Scale
    scales: Sequence[Scale]
    first_head: FirstHead
    geometry: Geometry
    decomposition: Decomposition | None
    cause: str
    notes: Sequence[str] = ()

    def one_line(self) -> str:
        """Return one line with the model and the first words of the cause."""
        return f"{self.model}: {textwrap.shorten(self.cause, 60, placeholder=' ...')}"
