"""Claims on key norms: initial value, first dip, early fall, late rise, and causes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval, student_t
from heedful.monitoring.evolution.pairs import correlation, spearman
from reproductions.deciding import above, below, beside, identity, within
from reproductions.evidence import Measurements, NotMeasured
from reproductions.keys import tables
from reproductions.published import published

DIP = 100
"""Step at which the note's figure has its common trough."""


def _note(evidence: Measurements) -> polars.DataFrame:
    return tables.records(evidence.run(tables.NOTE_RUN))


def _root(heads: polars.DataFrame) -> float:
    """Square root of the heads' dimension, from the null of their participation, ``(dim + 2) / 3``."""
    return math.sqrt(3 * float(heads["participation_null"][0]) - 2)


@published(
    note="002",
    section="section 1",
    sentence="With normalised keys, the mean key norm begins at the square root of the head dimension.",
    figure="8.0 at dimension 64",
)
def initial_key_norm_is_root_d(evidence: Measurements) -> list[Finding]:
    """Test whether the key norm at the first recorded step, before any update, is the root of the dimension."""
    table = _note(evidence)
    heads = tables.key_heads(table, [tables.first_step(table)])
    root = _root(heads)
    found = tables.mean_over_heads(heads, "norm_mean")
    message = f"Mean key norm at step {tables.first_step(table)}, over key heads; gains begin at 1."
    null = f"sqrt(d) = {root:g}, 1 % each way"
    return [identity(within(found, 0.99 * root, 1.01 * root, message, unit="norm", null=null))]


@published(
    note="002",
    section="section 1, figure 1",
    sentence="All layers dip together first, within about a hundred steps.",
    figure="8.0 to 7.1",
)
def all_layers_dip_first(evidence: Measurements) -> list[Finding]:
    """Test whether the mean key norm over layers at step 100 is within 5 % of the published 7.1."""
    table = _note(evidence)
    step = tables.nearest_step(table, DIP)
    heads = tables.key_heads(table, [step])
    found = tables.mean_over_layers(heads, "norm_mean")
    layers = heads.group_by("layer").agg(polars.col("norm_mean").mean())["norm_mean"].to_numpy()
    message = (
        f"Mean key norm at step {step}, over layers; {np.sum(layers < _root(heads))} of {len(layers)} layers are below "
        "where they began."
    )
    return [within(found, 6.75, 7.45, message, unit="norm", null="7.1, 5 % each way")]


@published(
    note="002",
    section="section 1, figure 1",
    sentence="The early fall is learnt: the model dampens the keys of raw embeddings.",
    figure="layers 0 and 1, 8.0 to 5.3",
)
def early_fall_is_learnt(evidence: Measurements) -> list[Finding]:
    """Compare gains with the curve of weight decay alone, and with training without weight decay on gains."""
    table = _note(evidence)
    step = tables.nearest_step(table, DIP)
    gains = table.filter((polars.col("part") == "key_gain") & (polars.col("step") == step))
    beyond = student_t((gains["gain_norm"] - gains["gain_decay"]).cast(polars.Float64).to_numpy())
    alone = float(np.mean(gains["gain_decay"].to_numpy()))
    first = table.filter((polars.col("part") == "key_gain") & (polars.col("step") == tables.first_step(table)))
    half = (float(np.mean(first["gain_norm"].to_numpy())) - alone) / 2
    message = (
        f"Norm of a layer's key gain at step {step}, less what weight decay alone leaves of it ({alone:.2f}), over "
        f"layers: were half of the fall learnt, it would be {half:.2f} below that."
    )
    return [below(beyond, -half, message, unit="norm", null="0: weight decay alone"), *_without_decay(evidence)]


def _without_decay(evidence: Measurements) -> list[Finding]:
    """The change in layers 0 and 1 of runs without weight decay on gains, and of those with it, where there are any."""
    try:
        held, decayed = (student_t(_changes(evidence, f"twin-{arm}-*", [0, 1])) for arm in ("held", "decay"))
    except NotMeasured:
        return []
    message = "Change of the norm in layers 0 and 1 without weight decay on gains, over seeds of a 6-layer run."
    return [
        below(held, 0.0, message, unit="norm", null="0"),
        beside(decayed, "The same with weight decay .2 on gains.", unit="norm", null="0"),
    ]


@published(
    note="002",
    section="section 1, figure 1",
    sentence="Keys of the first two layers end shorter than they began.",
    figure="8.0 to 5.3",
)
def early_norms_fall(evidence: Measurements) -> list[Finding]:
    """Test whether key norms in early layers fall from the first to the last recorded step."""
    table = _note(evidence)
    first, last = _ends(table)
    change = tables.change(tables.of_layers(first, [0, 1]), tables.of_layers(last, [0, 1]), "norm_mean")
    own = [tables.mean_over_heads(tables.of_layers(last, [layer]), "norm_mean") for layer in (0, 1)]
    message = f"Change of the key norm in layers 0 and 1 by step {tables.last_step(table)}, over key heads."
    return [
        below(change, 0.0, message, unit="norm", null="0"),
        *(beside(one, f"Layer {layer} alone ends at.", unit="norm") for layer, one in enumerate(own)),
    ]


@published(
    note="002",
    section="section 1, figure 1",
    sentence="Keys of middle and final layers end longer than they began.",
    figure="8.0 to 9.5-9.8",
)
def middle_and_final_norms_rise(evidence: Measurements) -> list[Finding]:
    """Test whether key norms rise from first to last recorded step in two middle and the two last layers."""
    table = _note(evidence)
    first, last = _ends(table)
    found = []
    for name in ("middle", "final"):
        layers = tables.groups(table)[name]
        change = tables.change(tables.of_layers(first, layers), tables.of_layers(last, layers), "norm_mean")
        message = f"Change of the key norm in layers {layers[0]} and {layers[1]}, over key heads."
        found.append(tables.at_this_scale(above(change, 0.0, message, unit="norm", null="0"), table))
    return found


@published(
    note="002",
    section="section 4",
    sentence="Norms rise with depth from layer 4 on, and layers 0 to 3 have the least.",
    figure="layers 0-3: 3.0 to 6.0, then linearly to 9.8",
)
def norm_rises_with_depth(evidence: Measurements) -> list[Finding]:
    """Correlate key norm with depth over layers (rank correlation), and compare the first four layers with the rest."""
    table = _note(evidence)
    _, last = _ends(table)
    deep = last.filter(polars.col("layer") >= 4)
    order = correlation(deep["layer"].to_numpy(), deep["norm_mean"].to_numpy(), deep["layer"].to_numpy())
    rank = Interval(order.estimate, order.low, order.high, int(deep["layer"].n_unique()), 0.95)
    layers = last.group_by("layer").agg(polars.col("norm_mean").mean()).sort("layer")["norm_mean"].to_numpy()
    rest = float(layers[4:].mean())
    return [
        above(rank, 0.0, "Rank correlation of depth and key norm from layer 4 on; bootstrap over layers.", null="0"),
        below(student_t(layers[:4]), rest, "Mean key norm of layers 0 to 3, over layers.", unit="norm",
              null=f"the other layers, {rest:.2f}", detail={"profile": [round(float(x), 2) for x in layers]}),
    ]  # fmt: skip


@published(
    note="002",
    section="all sections: 977 steps, one seed",
    sentence="One run shows the profile of norms by layer that such a training gives.",
    figure="one seed, no interval",
)
def one_run_shows_the_profile(evidence: Measurements) -> list[Finding]:
    """Correlate the final norm profile over layers between seeds (rank correlation)."""
    profiles = []
    for run in tables.whole_runs(evidence, "twin-decay-*", least=3):
        _, last = _ends(tables.records(run))
        profiles.append(
            last.group_by("layer").agg(polars.col("norm_mean").mean()).sort("layer")["norm_mean"].to_numpy()
        )
    pairs = [spearman(one, other) for index, one in enumerate(profiles) for other in profiles[:index]]
    spread = float(np.std(np.array(profiles), axis=0, ddof=1).mean()) if len(profiles) > 1 else math.nan
    message = f"Rank correlation of the profile over 6 layers between two seeds, over pairs of {len(profiles)} seeds."
    return [above(student_t(np.array(pairs)), 0.5, message, null="0", detail={"sd_over_seeds": spread})]


def _ends(table: polars.DataFrame) -> tuple[polars.DataFrame, polars.DataFrame]:
    return tuple(tables.key_heads(table, [step]) for step in (tables.first_step(table), tables.last_step(table)))  # type: ignore[return-value]


def _changes(evidence: Measurements, pattern: str, layers: list[int]) -> np.ndarray:
    """Mean change of the norm in some layers, one number a run."""

    def of(run: Path) -> float:
        first, last = _ends(tables.records(run))
        return float(
            tables.change(tables.of_layers(first, layers), tables.of_layers(last, layers), "norm_mean").estimate
        )

    return np.array([of(run) for run in tables.whole_runs(evidence, pattern, least=2)])
