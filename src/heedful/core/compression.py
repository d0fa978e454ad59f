"""Records of what it costs to make attention smaller: keys in few bits; layers, heads and dimensions left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A mean over documents with its 95 % interval.

    Attributes:
        estimate: The mean; NaN where undefined.
        low: Lower bound; NaN where there is none.
        high: Upper bound; NaN where there is none.
        n: Documents behind it.
    """

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What one change of the keys does where it happens, and to the loss.

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
    """The same for one head, its layer alone being changed.

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
    """One quantizer and its control.

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
    """Tails of one key head's components.

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
    """Spearman correlation over heads or layers, with an interval over documents.

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


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What keys in few bits cost one model on one text: ``heedful.quantization/1``.

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
