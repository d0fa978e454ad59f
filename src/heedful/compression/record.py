"""Records of compression costs: keys in few bits; layers, heads and dimensions removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from heedful.inference.mean_interval import Effect
from heedful.reporting.shown_record import ShownRecord, counted


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Effect of one change of the keys on weights, outputs and loss.

    Attributes:
        divergence: KL(weights || weights with the changed keys) in nats, mean over queries and heads.
        error: Change of a head's output over the norm of its output, mean over heads.
        loss: Loss with the change in every layer at once less the loss without, nats per token; None without a loss.
    """

    divergence: Effect
    error: Effect
    loss: Effect | None


@dataclass(frozen=True, kw_only=True)
class HeadDamage:
    """Effect on one head when only its layer is changed.

    Attributes:
        layer: Layer index in the order of calls.
        head: Query head.
        key_head: Key head that it reads.
        divergence: As in ``Damage``.
        error: As in ``Damage``.
    """

    layer: int
    head: int
    key_head: int
    divergence: Effect
    error: Effect


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One quantizer and its control, noise of equal size.

    Attributes:
        name: What it does, in words.
        bits: Bits of a component; None for clipping alone.
        group: What shares a scale: tensor, token or channel.
        clip: Percentage of components that keep their value; None for all.
        key_error: Root mean square of the keys' error over that of the keys, mean over key heads.
        quantized: What it costs.
        noise: What Gaussian noise of the same root mean square costs.
        structure: Loss with the quantizer less the loss with the noise; None without a loss.
        divergence_structure: The same for the divergence.
        verdict: What the loss interval says of the margin: ``within``, ``costs``, ``helps``, ``not settled``,
            ``insufficient data``, ``no loss``.
        heads: Every head.
    """

    name: str
    bits: int | None
    group: str
    clip: float | None
    key_error: Effect
    quantized: Damage
    noise: Damage
    structure: Effect | None
    divergence_structure: Effect
    verdict: str
    heads: Sequence[HeadDamage]


@dataclass(frozen=True, kw_only=True)
class KeyTails:
    """Tail heaviness of one key head's components.

    Attributes:
        layer: Layer index.
        module: Path of the attention module.
        key_head: Key head.
        kurtosis: Fourth moment over the squared second; 3 for a Gaussian.
        crest: Largest component over the root mean square.
    """

    layer: int
    module: str
    key_head: int
    kurtosis: Effect
    crest: Effect


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Spearman correlation over heads or layers, with its interval over documents.

    Attributes:
        x: First property.
        y: Second property.
        under: Under which quantizer or ranking.
        items: Heads or layers.
        estimate: The correlation; NaN where undefined.
        low: Lower bound; NaN where there is none.
        high: Upper bound; NaN where there is none.
        p: Two-sided p of no association between the two over the heads or layers, which the interval does not speak
            of: it is that of these items on other documents. Holm over all correlations of the report; NaN where
            undefined.
    """

    x: str
    y: str
    under: str
    items: int
    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Quantization(ShownRecord):
    """Cost of keys in few bits for one model on one text: ``heedful.quantization/1``.

    Attributes:
        model: Name, class, parameters, layers, heads, dtype, device, notes.
        data: Text, documents, sequences, tokens, objective.
        settings: Every option that shaped the numbers.
        versions: heedful, torch, transformers, Python.
        stage: ``after`` or ``before`` the rotation of positions.
        loss: Loss of the model as it is; None without a loss.
        recomputed: Loss with attention recomputed from unchanged keys less the model's own: what rounding alone does.
        trials: One a quantizer.
        tails: One a key head.
        correlations: Tails against damage over key heads.
        not_measured: What was left as it is, and why.
    """

    schema: ClassVar[str] = "heedful.quantization/1"
    page_by: ClassVar[str] = "heedful.compression.page_quantization:quantization_page"

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    stage: str
    loss: Effect | None
    recomputed: Effect | None
    trials: Sequence[Trial]
    tails: Sequence[KeyTails]
    correlations: Sequence[RankCorrelation]
    not_measured: Sequence[Mapping[str, str]] = field(default_factory=tuple)

    def one_line(self) -> str:
        """Return one line with the model and the number of quantizers."""
        documents = counted(int(self.data.get("documents", 0)), "document")
        return f"{self.model.get('name', '')}: {counted(len(self.trials), 'quantizer')}, {documents}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """Loss increase with a given fraction of attention removed.

    Attributes:
        fraction: Share of the units that was asked for.
        removed: Units left out, in each key head for dimensions.
        loss: Rise of the loss, nats per token; mean over orders where there are several. None without a loss.
        shuffled: Rise of the loss by labels in another order: what less confidence alone does to a loss.
        divergence: KL(weights || weights without the dimensions), each layer alone; None for layers and heads.
        error: Change of a head's output over its norm, likewise.
        orders: Rise of the loss under each order; one entry for a ranking, several for random order.
    """

    fraction: float
    removed: int
    loss: Effect | None
    shuffled: Effect | None
    divergence: Effect | None
    error: Effect | None
    orders: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Loss increase as more units are removed, for one removal order.

    Attributes:
        part: ``layers``, ``heads`` or ``dimensions``.
        ranking: What the order is by; ``random`` is the control.
        units: Units there are, in each key head for dimensions.
        points: By growing fraction.
    """

    part: str
    ranking: str
    units: int
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Loss that a ranking saves compared with random order.

    Attributes:
        part: ``layers``, ``heads`` or ``dimensions``.
        ranking: What the order is by.
        fraction: Share of the units left out.
        saved: Loss in random order less loss in this order, nats per token; its interval holds documents and orders.
        p: Share of orders, this one among them, that cost as little as this one: what an order that knows nothing would
            reach. With 19 random orders it can be .05.
        answer: ``yes`` where the whole interval is above 0 and p at most .05; ``not beyond chance`` where p is larger;
            ``no`` where the interval is below 0; else ``not settled``, or ``insufficient data``.
    """

    part: str
    ranking: str
    fraction: float
    saved: Effect
    p: float
    answer: str


@dataclass(frozen=True, kw_only=True)
class UnitCost:
    """Loss increase from removing one layer or head.

    Attributes:
        part: ``layers`` or ``heads``.
        module: Path of the attention module.
        layer: Layer index.
        head: Query head; None for a layer.
        price: Rise of the loss without it alone, nats per token; None where it was not measured.
        effective_rank: Participation ratio of the covariance of its keys, sequence by sequence.
        centred_cosine: Mean cosine of its keys about their mean.
    """

    part: str
    module: str
    layer: int
    head: int | None
    price: Effect | None
    effective_rank: Effect
    centred_cosine: Effect


@dataclass(frozen=True, kw_only=True)
class LabelLosses:
    """Loss with the correct labels and with wrong ones.

    Attributes:
        right: Loss by the labels that every other number of the report is by.
        fed: Loss by the tokens that were fed at the same positions: what unshifted labels would give.
        shuffled: Loss by the right labels in another order within each sequence.
        answer: ``yes`` where the right labels have the least loss, by whole intervals of the differences; ``no`` where
            wrong ones have less; else ``not settled`` or ``insufficient data``.
    """

    right: Effect
    fed: Effect
    shuffled: Effect
    answer: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Pruning(ShownRecord):
    """Cost of removing attention for one model on one text: ``heedful.pruning/1``.

    Attributes:
        model: Name, class, parameters, layers, heads, dtype, device, notes.
        data: Text, documents, sequences, tokens, objective; which documents ranked and which priced.
        settings: Every option that shaped the numbers.
        versions: heedful, torch, transformers, Python.
        labels: The check of the labels; None without a loss.
        units: Layers, then heads.
        curves: One a part and ranking.
        savings: One a part, ranking and fraction; none without a loss.
        correlations: Redundancy against price.
        not_measured: What was left as it is, and why.
    """

    schema: ClassVar[str] = "heedful.pruning/1"
    page_by: ClassVar[str] = "heedful.compression.page_pruning:pruning_page"

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    labels: LabelLosses | None
    units: Sequence[UnitCost]
    curves: Sequence[Curve]
    savings: Sequence[Saving]
    correlations: Sequence[RankCorrelation]
    not_measured: Sequence[Mapping[str, str]] = field(default_factory=tuple)

    def one_line(self) -> str:
        """Return one line with the model and the number of removal orders."""
        documents = counted(int(self.data.get("documents", 0)), "document")
        return f"{self.model.get('name', '')}: {counted(len(self.curves), 'curve')}, {documents}"
