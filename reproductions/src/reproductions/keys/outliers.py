"""Claims on outlier components of keys, and on their link with attention sinks."""

from __future__ import annotations

import math

import numpy as np
import polars
from scipy.stats import norm as gaussian

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval, student_t
from heedful.monitoring.evolution.pairs import correlation
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements, NotMeasured
from reproductions.keys import tables
from reproductions.published import published

SINK = 0.3
"""Mass on the first key from which a head is a sink (Gu et al. 2024, arXiv:2410.10781)."""


def _deep(table: polars.DataFrame, step: int) -> polars.DataFrame:
    """Key heads of the middle and final layers at a step."""
    groups = tables.groups(table)
    return tables.of_layers(tables.key_heads(table, [step]), groups["middle"] + groups["final"])


@published(
    note="002",
    section="section 2, figure 2",
    sentence="The largest component of all keys rises to more than twice its start in middle and final layers.",
    figure="4.0 to 9.0 within 200 steps",
)
def largest_component_rises_to_nine(evidence: Measurements) -> list[Finding]:
    """Test the change of the largest key component, compared with random keys of equal norm."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    first, last = (_deep(table, step) for step in (tables.first_step(table), tables.last_step(table)))
    ratio = student_t((last["global_max"] / first["global_max"]).to_numpy())
    expected = float(np.mean([_largest(row) for row in last.to_dicts()]))
    message = (
        f"Largest component of all keys of a head, last step over first, over heads of middle and final layers; it is "
        f"{tables.mean_over_heads(last, 'global_max').estimate:.2f} at step {tables.last_step(table)}, and "
        f"{expected:.2f} for keys of this length without structure."
    )
    return [tables.at_this_scale(above(ratio, 2.0, message, unit="ratio", null="2"), table)]


@published(
    note="002",
    section="section 2, conclusion",
    sentence="Almost all of a key's energy lies in one component.",
    figure="9.0 of a norm of 9.5",
)
def energy_lies_in_one_component(evidence: Measurements) -> list[Finding]:
    """Test the share of each key's squared norm in its largest component."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    last = _deep(table, tables.last_step(table))
    dim = round(3 * float(last["participation_null"][0]) - 2)
    squares = np.random.default_rng(0).standard_normal((8192, dim)) ** 2
    null = f"{(squares.max(1) / squares.sum(1)).mean():.3f} without structure"
    message = "Share of a key's squared norm in its largest component, over key heads of middle and final layers."
    found = [above(tables.mean_over_heads(last, "largest_share"), 0.5, message, unit="share", null=null)]
    try:
        heads = tables.key_heads(tables.records(evidence.run("pretrained") / "heads"))
    except NotMeasured:
        return found
    message = "The same in a trained model of 135 M parameters, over layers."
    return [*found, above(tables.mean_over_layers(heads, "largest_share"), 0.5, message, unit="share", null=null)]


@published(
    note="002",
    section="section 2",
    sentence="A head whose keys have a dominant component is an attention sink.",
    figure="qualitative",
)
def dominant_components_make_sinks(evidence: Measurements) -> list[Finding]:
    """Correlate the largest component's share with the mass on the first key over key heads (rank correlation)."""
    found = []
    for name, folder in (("a trained model of 135 M parameters, 30 layers", evidence.run("pretrained") / "heads"),):
        heads = tables.key_heads(tables.records(folder))
        order = correlation(heads["largest_share"].to_numpy(), heads["sink_mass"].to_numpy(), heads["layer"].to_numpy())
        rank = Interval(order.estimate, order.low, order.high, int(heads["layer"].n_unique()), 0.95)
        sinks = int((heads["sink_mass"] > SINK).sum())
        message = (
            f"Rank correlation of that share with the mass on the first key over {order.n} key heads of {name}, where "
            f"{sinks} are sinks; bootstrap over layers."
        )
        found.append(above(rank, 0.0, message, null="0"))
    return found


@published(
    note="002",
    section="section 2, title",
    sentence="Attention sinks are born in this training, in middle and final layers.",
    figure="inferred from the largest component; attention was not looked at",
)
def sinks_are_born(evidence: Measurements) -> list[Finding]:
    """Test the attention mass on the first key at the end of training."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    groups = tables.groups(table)
    heads = tables.of_layers(tables.query_heads(table, [tables.last_step(table)]), groups["middle"] + groups["final"])
    count = int((heads["sink_mass"] > SINK).sum())
    message = (
        f"Mass on the first key over query heads of middle and final layers; {count} of {len(heads)} are beyond {SINK}."
    )
    finding = above(tables.mean_over_heads(heads, "sink_mass"), SINK, message, unit="mass", null=f"{SINK}: a sink")
    return [tables.at_this_scale(finding, table)]


@published(
    note="002",
    section="follow-up study",
    sentence="That a key's participation ratio halves shows most of its dimensions to be idle.",
    figure="24 to 11 of 64: 82 % idle",
)
def idle_dimensions_are_learnt(evidence: Measurements) -> list[Finding]:
    """Test the share of unused key dimensions beyond that of random keys."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    first, last = (tables.key_heads(table, [step]) for step in (tables.first_step(table), tables.last_step(table)))
    ratio = last.with_columns((1 - polars.col("participation") / polars.col("participation_null")).alias("idle"))
    start = tables.mean_over_layers(first, "participation")
    message = (
        f"Share by which a key's participation is below that of a direction without structure, over layers at step "
        f"{tables.last_step(table)}; before training it is {float(start.estimate):.1f} of 64 already."
    )
    found = tables.mean_over_layers(ratio, "idle")
    return [above(found, 0.5, message, unit="share", null="(d + 2) / 3 = 22")]


@published(
    note="002",
    section="first version",
    sentence="Since normalisation fixes the length of keys, energy must go into one component.",
    figure="qualitative",
)
def normalised_length_is_fixed(evidence: Measurements) -> list[Finding]:
    """Test whether key norms after normalisation equal the root of the dimension, although the gain is learned."""
    table = tables.records(evidence.run(tables.NOTE_RUN))
    heads = tables.key_heads(table, [tables.last_step(table)])
    root = math.sqrt(3 * float(heads["participation_null"][0]) - 2)
    away = heads.with_columns((polars.col("norm_mean") / root - 1).abs().alias("away"))
    message = f"Distance of a layer's mean key norm from sqrt(d) = {root:g}, as a share of it, over layers."
    finding = below(tables.mean_over_layers(away, "away"), 0.02, message, unit="share", null="0: a fixed length")
    share = tables.mean_over_layers(heads, "largest_share")
    return [finding, beside(share, "Share of a key's energy in its largest component.", unit="share")]


def _largest(row: dict[str, float]) -> float:
    """Median of the largest component of as many Gaussian keys of this mean norm."""
    dim = 3 * row["participation_null"] - 2
    beyond = 1 - 0.5 ** (1 / (row["vectors"] * dim))
    return row["norm_mean"] / math.sqrt(dim) * float(gaussian.isf(beyond / 2))
