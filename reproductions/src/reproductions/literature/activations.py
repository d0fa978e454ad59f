"""Claims on massive activations, on heads that lie dormant, and on entropy and the size of projections."""

from __future__ import annotations

import numpy as np

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from heedful.monitoring.evolution.pairs import correlation, spearman
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements
from reproductions.literature.tables import DECODER, claimed, mean, measured, share, values
from reproductions.published import untested

SUN = "Sun et al. 2024, arXiv:2402.17762"
GUO = "Guo et al. 2024, arXiv:2410.13835"
ZHAI = "Zhai et al. 2023, arXiv:2303.06296"
MASSIVE, OVER_MEDIAN = 100.0, 1000.0
"""Size, and size over the median of the layer, from which the paper calls an activation massive."""
HARMLESS, HARMFUL = 0.01, 0.5
"""Nats a token: what counts as no change of the loss, and as a collapse."""


@claimed(
    section=f"{SUN}, section 2",
    sentence="A few activations are massive: beyond 100, and a thousand times the median of their layer.",
    figure="Llama-2-7B: 2622 and 1547, median 0.2",
)
def a_few_activations_are_massive(evidence: Measurements) -> list[Finding]:
    """The largest component of all hidden states of a document, by size and over the median; where it is beside."""
    found = measured(evidence, "massive")
    message = f"Largest component of all hidden states of a document: {DECODER}."
    return [
        above(mean(values(found, "largest")), MASSIVE, message, unit="", null="the paper's own bound"),
        above(mean(values(found, "over_median")), OVER_MEDIAN, "The same over the median of its layer.", unit="ratio",
              null="the paper's own bound"),
        beside(share(values(found, "at_first")), "Share of documents in which it is at the first token.", unit="share"),
    ]  # fmt: skip


@claimed(
    section=f"{SUN}, section 2.2",
    sentence="They stay in the same dimensions and have the same value whatever the text.",
    figure="Llama-2-7B: standard deviations of a few percent of the mean",
)
def massive_activations_do_not_depend_on_text(evidence: Measurements) -> list[Finding]:
    """Same dimension in nine of ten documents; values within a tenth of their mean on other documents."""
    found = measured(evidence, "massive")
    message = f"Share of documents whose largest component is in the dimension that other documents give: {DECODER}."
    spread = f"Distance of its value, after layer {found['layer']}, from the mean of other documents, as a share of it."
    return [
        above(share(values(found, "in_same_dim")), 0.9, message, unit="share", null="1 of 576 by chance"),
        below(mean(values(found, "spread")), 0.1, spread, unit="share", null="0: a constant"),
    ]


@claimed(
    section=f"{SUN}, section 3",
    sentence="Setting massive activations to 0 destroys the model.",
    figure="Llama-2-7B: perplexity infinite; as many others: no change",
)
def without_massive_activations_the_model_collapses(evidence: Measurements) -> list[Finding]:
    """Rise of the loss with the components of the first token at 0 once, after one layer; others beside."""
    found = measured(evidence, "massive")
    intact, zero, other = (values(found, name) for name in ("intact", "zero", "others_zero"))
    where = f"{len(found['dims'])} components of the first token's state after layer {found['layer']}"
    return [
        above(mean(zero - intact), HARMFUL, f"Rise of the loss with {where} at 0: {DECODER}.", unit="nat/token",
              null="0; the threshold is .5 nat"),
        below(mean(other - intact), HARMLESS, "The same with as many other components, mean of three draws.",
              unit="nat/token", null=f"{HARMLESS}: costs nothing"),
    ]  # fmt: skip


@claimed(
    section=f"{SUN}, section 3",
    sentence="Setting them to their mean over other texts changes nothing: they are biases.",
    figure="Llama-2-7B: perplexity 5.47 before and after",
)
def massive_activations_are_biases(evidence: Measurements) -> list[Finding]:
    """Size of the change of the loss when the same components take their mean over other documents."""
    found = measured(evidence, "massive")
    change = np.abs(values(found, "mean") - values(found, "intact"))
    message = f"Size of the change of a document's loss with the same components at their mean: {DECODER}."
    return [below(mean(change), HARMLESS, message, unit="nat/token", null=f"{HARMLESS}: costs nothing")]


@claimed(
    section=GUO,
    sentence="Dormant heads, which rest on a sink of small value, can be left out at no cost.",
    figure="Llama-2-7B, one head: dormant on Wikipedia, where its removal changes nothing",
)
def dormant_heads_cost_nothing(evidence: Measurements) -> list[Finding]:
    """All heads with a mass of .6 and a value of half the others' or less, left out at once; others beside."""
    found = measured(evidence, "dormant")
    intact, without, other = (values(found, name) for name in ("intact", "without", "without_others"))
    message = (
        f"Rise of the loss without the {len(found['dormant'])} heads that other documents show dormant (mass on the "
        f"first key .6 or more, norm of its value half of the others' or less): {DECODER}."
    )
    return [
        below(mean(without - intact), HARMLESS, message, unit="nat/token", null=f"{HARMLESS}: costs nothing"),
        beside(mean(other - intact), "The same without as many other heads of these layers, mean of three draws.",
               unit="nat/token"),
    ]  # fmt: skip


@claimed(
    section=f"{ZHAI}, theorem 3.1",
    sentence="The larger the spectral norm of the query-key product, the lower the entropy of attention.",
    figure="a bound of the entropy that falls with the norm; vision transformers",
)
def large_projections_have_low_entropy(evidence: Measurements) -> list[Finding]:
    """Rank correlation over heads; heads of a layer are drawn together."""
    found = measured(evidence, "entropy")
    entropy, norm, layer = values(found, "entropy").mean(0), values(found, "spectral_norm"), np.array(found["layer"])
    order = correlation(norm, entropy, layer)
    rank = Interval(order.estimate, order.low, order.high, len(np.unique(layer)), 0.95)
    message = (
        f"Rank correlation over {len(norm)} heads of {DECODER} of the spectral norm of the query-key product, gains of "
        "the norm before it within, with entropy over its most; bootstrap over layers, which are the units."
    )
    by_document = [spearman(norm, one) for one in values(found, "entropy")]
    return [
        below(rank, 0.0, message, null="0: unrelated"),
        beside(mean(by_document), "The same of each document.", unit=""),
    ]


untested(
    "instability_comes_with_entropy_collapse",
    note="literature",
    section=f"{ZHAI}, section 3",
    sentence="Training becomes unstable together with a collapse of the entropy of attention.",
    figure="vision, speech and translation models",
    reason="It takes trainings that become unstable; no trained model shows how it was trained.",
)
