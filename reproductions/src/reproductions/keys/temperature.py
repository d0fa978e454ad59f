"""Claims that the norm of keys acts as attention's inverse temperature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars
from numpy.typing import NDArray

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval, student_t
from heedful.monitoring.evolution.pairs import Measure, correlation, pearson, spearman
from reproductions.deciding import above, below, beside, identity
from reproductions.evidence import Measurements, NotMeasured
from reproductions.keys import tables
from reproductions.published import published

MODELS = {
    tables.NOTE_RUN: "the 22-layer run",
    "pretrained": "a trained model of 135 M parameters, 30 layers",
}
TWINS = "twin-decay-*"
LAST = 5
"""Records at the end of a run that stand for one measurement."""
STRONG = 11.0
"""Key norm beyond which a follow-up of the note says that entropy is close to 0."""


@published(
    note="002",
    section="section 1, proposed experiment",
    sentence="Over heads, key norm and the entropy of attention are inversely related.",
    figure="proposed, not measured; in a follow-up without causal mask and rotation",
)
def norm_and_entropy_are_inverse(evidence: Measurements) -> list[Finding]:
    """Correlate key norm with normalised causal entropy over key heads on held-out text (rank correlation)."""
    return _beside_entropy(evidence, "norm_mean", "key norm")


@published(
    note="002",
    section="section 1, theory",
    sentence="What sharpens attention is the spread of its logits.",
    figure="not measured",
)
def spread_and_entropy_are_inverse(evidence: Measurements) -> list[Finding]:
    """Correlate the logits' standard deviation with normalised entropy over key heads (rank correlation)."""
    return _beside_entropy(evidence, "logit_sd", "logit spread")


@published(
    note="002",
    section="section 1, theory",
    sentence="The length of keys alone sets how sharp attention is.",
    figure="norm < 8: flat; norm > 8: sharp",
)
def norm_sets_sharpness(evidence: Measurements) -> list[Finding]:
    """Divide keys and multiply queries by a factor in each layer: norms change, attention does not."""
    found = []
    for folder, name in MODELS.items():
        try:
            run = evidence.run(folder)
            pair = [tables.key_heads(tables.records(run / part)) for part in ("heads", "rescaled")]
        except NotMeasured:
            continue
        both = pair[0].join(pair[1], on=tables.PLACE, suffix="_other")
        shorter = both["norm_mean_other"] / both["norm_mean"]
        moved = both.with_columns(
            (polars.col("entropy_share_other") - polars.col("entropy_share")).abs().alias("moved")
        )
        before, after = (_over_layers(heads, "norm_mean", spearman) for heads in pair)
        message = (
            f"Change of entropy over its most in {name} when each layer's keys are divided by a factor and its queries "
            f"multiplied by it, over layers; key norms become {shorter.min():.2f} to {shorter.max():.2f} of what they "  # type: ignore[str-bytes-safe]
            "were."
        )
        changed = tables.mean_over_layers(moved, "moved")
        found.append(identity(above(changed, 0.01, message, unit="share", null="0")))
        found += [
            beside(one, f"Rank correlation of norm with entropy in {name} {when}.")
            for one, when in ((before, "before that"), (after, "after it: the same attention"))
        ]
    return _or_missing(found, "pretrained/rescaled")


@published(
    note="002",
    section="section 1, proposed experiment",
    sentence="The first layer attends diffusely and the last one sharply.",
    figure="norm 5.3 and 9.8; entropy not measured",
)
def first_layer_is_diffuse_last_is_sharp(evidence: Measurements) -> list[Finding]:
    """Compare normalised entropy between heads of the first and the last layer."""
    found = []
    for name, heads, layers in _models(evidence):
        first, last = (
            heads.filter(polars.col("layer") == layer)["entropy_share"].to_numpy() for layer in (0, layers - 1)
        )
        message = (
            f"Entropy over its most in {name}: first layer {first.mean():.2f}, last {last.mean():.2f}; difference by "
            "Welch's t over key heads."
        )
        found.append(above(_welch(first, last), 0.0, message, unit="share", null="0"))
    return _or_missing(found, "pretrained/heads")


@published(
    note="002",
    section="follow-up study",
    sentence="Heads whose key norm is beyond 11 have almost no entropy.",
    figure="near 0 above norm 11",
)
def entropy_vanishes_beyond_norm_11(evidence: Measurements) -> list[Finding]:
    """Test the normalised entropy of key heads with a norm above 11."""
    found = []
    for name, heads, _ in _models(evidence):
        beyond = heads.filter(polars.col("norm_mean") > STRONG)
        if beyond["layer"].n_unique() < 2:
            continue
        message = (
            f"Entropy over its most of the {beyond.height} key heads of {name} beyond norm {STRONG:g}, over layers."
        )
        found.append(
            below(tables.mean_over_layers(beyond, "entropy_share"), 0.1, message, unit="share", null="1: uniform")
        )
    return _or_missing(found, "heads beyond norm 11")


def _beside_entropy(evidence: Measurements, column: str, words: str) -> list[Finding]:
    """Rank correlation of a column with entropy over its most, in each model and over the 6-layer runs."""
    found = []
    for name, heads, layers in _models(evidence):
        message = (
            f"Rank correlation of {words} with entropy over its most, {heads.height} key heads of {name}; bootstrap "
            f"over {layers} layers."
        )
        rank, straight = (_over_layers(heads, column, measure) for measure in (spearman, pearson))
        found.append(below(rank, 0.0, message, null="0", detail={"pearson": _plain(straight)}))
    ranks = _twins(evidence, column)
    if ranks is not None:
        message = "The same in 6-layer runs of 18 key heads, mean over seeds."
        found.append(below(student_t(ranks), 0.0, message, null="0", detail={"by_seed": ranks.tolist()}))
    return _or_missing(found, "pretrained/heads")


def _models(evidence: Measurements) -> Iterator[tuple[str, polars.DataFrame, int]]:
    """What the model is called, its key heads, its number of layers."""
    for folder, name in MODELS.items():
        try:
            heads = _heads(evidence.run(folder))
        except NotMeasured:
            continue
        yield name, heads, int(heads["layer"].n_unique())


def _heads(run: Path) -> polars.DataFrame:
    """Key heads on held-out text; else of the run's last records, on text that a first pass has not met before."""
    try:
        return tables.key_heads(tables.records(run / "heads"))
    except NotMeasured:
        table = tables.records(run)
        steps = sorted({int(step) for step in table["step"].to_list()})
        return tables.key_heads(table, steps[-LAST:])


def _or_missing(found: list[Finding], name: str) -> list[Finding]:
    if not found:
        raise NotMeasured(name)
    return found


def _over_layers(heads: polars.DataFrame, name: str, measure: Measure) -> Interval:
    columns = (heads[column].to_numpy() for column in (name, "entropy_share", "layer"))
    order = correlation(*columns, measure=measure)
    return Interval(order.estimate, order.low, order.high, int(heads["layer"].n_unique()), 0.95)


def _twins(evidence: Measurements, name: str) -> NDArray[np.float64] | None:
    """Rank correlation with entropy, a number a seed."""

    def of(run: Path) -> float:
        heads = tables.key_heads(tables.records(run / "heads"))
        return spearman(heads[name].to_numpy(), heads["entropy_share"].to_numpy())

    try:
        return np.array([of(run) for run in tables.whole_runs(evidence, TWINS, least=2)])
    except NotMeasured:
        return None


def _plain(found: Interval) -> dict[str, float]:
    return {"estimate": float(found.estimate), "low": float(found.low), "high": float(found.high)}


def _welch(first: NDArray[np.float64], last: NDArray[np.float64]) -> Interval:
    """Difference of two means with Welch's interval."""
    from scipy.stats import t

    parts = [side.var(ddof=1) / len(side) for side in (first, last)]
    error, difference = float(np.sqrt(sum(parts))), float(first.mean() - last.mean())
    degrees = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (first, last), strict=True))
    half = float(t.ppf(0.975, degrees)) * error
    return Interval(difference, difference - half, difference + half, len(first) + len(last), 0.95)
