"""Write paragraphs on what each figure's numbers show, and what they do not show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars

from heedful.monitoring.evolution.pairs import Correlation, EntropyPairs, changes, correlation, directions, message
from heedful.monitoring.evolution.rows import KeyRows
from heedful.reporting.quantity import count, interval, number


def _alone(rows: KeyRows) -> str:
    """What a figure over steps says where there is one step."""
    what = "checkpoint" if rows.text else "step"
    return f"One {what} has no evolution, so nothing is drawn; these are the numbers of the one."


def norm(rows: KeyRows) -> str:
    """Write the paragraph for figure 1: how key norms changed, and what weight decay alone would have made of the
    gains.
    """
    roots = " and ".join(number(math.sqrt(dim)) for dim in rows.dims)
    whose = "keys whose components have a mean square of 1"
    if rows.single:
        begin = f"{_alone(rows)} Mean key norm: {message(rows, 'norm_mean')}. It is {roots} for {whose}."
    else:
        moved = directions(changes(rows, "norm_mean"))
        begin = (
            f"From step {rows.steps[0]} to {rows.steps[-1]} the mean key norm: {moved}. {message(rows, 'norm_mean')}. "
            f"The dashed line is sqrt(d_k) = {roots}: {whose} lie on it."
        )
    return " ".join(
        [
            begin,
            *_decay(rows),
            "Not shown: temperature. A gain c on keys and 1/c on queries leaves every weight of attention as it "
            "is, so a smaller norm is not by itself flatter attention, nor a larger one sharper; read the spread of "
            "the logits.",
        ]
    )


def outliers(rows: KeyRows) -> str:
    """Write the paragraph for figure 2: the largest component's share, compared with random directions."""
    last = rows.keys.filter(polars.col("step") == rows.steps[-1])
    vectors = float(last["vectors"].to_numpy().max())
    null = " and ".join(f"{_share_without_structure(dim):.3f} at d_k = {dim}" for dim in rows.dims)
    most = last.sort("largest_share", descending=True, nulls_last=True).row(0, named=True)
    half = "most" if (most["largest_share"] or 0.0) > 0.5 else "less than half"
    return " ".join(
        [
            *([_alone(rows)] if rows.single else []),
            f"Share of a key's squared norm in its largest component: {message(rows, 'largest_share')}; directions "
            f"without structure have {null}.",
            f"The head with the most is L{most['layer']} key head {most['head']}: "
            f"{number(most['largest_share'])}, so its "
            f"largest component holds {half} of a key on average.",
            f"Largest component of all keys, mean over heads: {message(rows, 'global_max')}.",
            f"That is one number out of {number(vectors)} keys a head and grows with how many there are: keys of this "
            f"norm without structure would reach about {number(_largest_without_structure(last))}{_at_last(rows)}. Do "
            "not compare it with the mean norm, which covers different keys.",
            "Not shown: attention sinks. A large component of a key is no attention mass; the table's sink_mass is.",
        ]
    )


def redundancy(rows: KeyRows) -> str:
    """Write the paragraph for figure 3: how much of the likeness of keys comes from a mean that they share."""
    raw, centred = message(rows, "cosine"), message(rows, "centred_cosine")
    if not raw or not centred:
        return "Too few keys were measured for a mean cosine (it takes 1000 pairs a head), so nothing is drawn."
    pairs = float(rows.keys.filter(polars.col("step") == rows.steps[-1])["pairs"].to_numpy().min())
    said = [
        *([_alone(rows)] if rows.single else []),
        f"Mean cosine of two keys of one sequence, raw: {raw}.",
        f"About the mean key of each sequence: {centred}.",
        f"Each is over all pairs within a sequence, at least {number(pairs)} a head.",
        "What raw cosine has and centred cosine has not is one vector that all keys of a sequence share; added "
        "to every "
        "key, it changes no weight of attention before rotation.",
    ]
    last = rows.rotated.filter((polars.col("step") == rows.steps[-1]) & polars.col("cosine").is_finite())
    if len(last):
        after = (number(float(np.mean(last[name].drop_nulls().to_numpy()))) for name in ("cosine", "centred_cosine"))
        one = "the checkpoint" if rows.single else "the last step"
        said.append("After rotation, as attention meets the keys, {} has {} raw and {} centred.".format(one, *after))
    said.append(
        "Not shown: that keys or layers can be left out. Keys on a line through their mean have a centred cosine of "
        "about 0 too (the table's effective_rank counts directions), and only an ablation says what a layer is worth."
    )
    return " ".join(said)


def profile(rows: KeyRows, table: Sequence[Mapping[str, Any]]) -> str:
    """Write the paragraph for figure 4: layers with lowest and highest norm, and the trend with depth."""
    began = "The" if rows.single else f"At step {rows.steps[-1]} the"
    if len(table) == 1:
        only = f"{began} mean key norm is {number(table[0]['value'])} in the one layer there is: no profile by depth."
        return f"{only} {_HEADS_OF_A_LAYER} {_NOT_IMPORTANCE}"
    lowest, highest = (choose(table, key=lambda row: float(row["value"])) for choose in (min, max))
    order = correlation([r["value"] for r in table], [r["layer"] for r in table], [r["layer"] for r in table])
    said = [
        f"{began} mean key norm is lowest in layer {lowest['layer']} ({number(lowest['value'])}) and highest in layer "
        f"{highest['layer']} ({number(highest['value'])})."
    ]
    if len(rows.dims) == 1:
        above = sum(row["value"] > math.sqrt(rows.dims[0]) for row in table)
        said.append(f"{above} of {count(len(table), 'layer')} lie above sqrt(d_k) = {number(math.sqrt(rows.dims[0]))}.")
    else:
        roots = " and ".join(number(math.sqrt(dim)) for dim in rows.dims)
        said.append(f"Heads are of several dimensions, with sqrt(d_k) = {roots}: norms go with dimension as well.")
    said += [f"Rank correlation of depth and norm: {_correlated(order, 'layers')}.", _HEADS_OF_A_LAYER, _NOT_IMPORTANCE]
    return " ".join(said)


_HEADS_OF_A_LAYER = "Rules are the range over the key heads of a layer."
_NOT_IMPORTANCE = (
    "Not shown: importance. A layer with longer keys is not one that predicts better or attends more sharply."
)


def entropy(pairs: EntropyPairs) -> str:
    """Write the paragraph for figure 5: correlations of entropy over heads, and within heads over steps."""
    begin = "Rank" if pairs.steps == 1 else "At the last step, rank"
    said = [
        "Entropy is that of the attention that was used, over the most that its visible keys allow, so 1 is uniform.",
        f"{begin} correlation with the key norm: {_correlated(pairs.norm, 'key heads')}; with the spread "
        f"of a query's logits: {_correlated(pairs.spread, 'query heads')}.",
    ]
    for name, found in (("the key norm", pairs.norm_in_time), ("the spread", pairs.spread_in_time)):
        if found:
            said.append(
                f"Over {pairs.steps} steps within a head, the correlation with {name} has median "
                f"{number(float(np.median(found)))} over {len(found)} heads (from {number(min(found))} to "
                f"{number(max(found))}); steps follow from one another, so it has no interval."
            )
    said.append(
        "Query heads that share keys count once beside the norm, as their mean. Not shown: that norm makes entropy: "
        "whatever differs between heads goes with both, and the norm of queries takes part in the same logits. That "
        "entropy falls as logits spread is nearly a definition; the norm adds to it only what it says about the spread."
    )
    return " ".join(said)


def _at_last(rows: KeyRows) -> str:
    return "" if rows.single else " at the last step"


def _correlated(found: Correlation, items: str) -> str:
    bounds = "no interval below 8"
    if not math.isnan(found.low):
        bounds = f"{interval((found.low, found.high))} by a bootstrap over {found.units}"
    return f"{number(found.estimate)} (n = {found.n} {items}, {bounds})"


def _decay(rows: KeyRows) -> list[str]:
    """What weight decay alone would have made of the gains of the key norms; nothing where there are none."""
    last = rows.gains.filter(polars.col("step") == rows.steps[-1]) if len(rows.gains) else rows.gains
    first = rows.gains.filter(polars.col("step") == rows.steps[0]) if len(rows.gains) else rows.gains
    if last.is_empty() or first.is_empty():
        return ["No gain of a key norm was recorded, so weight decay on it is unknown."]
    known = last.filter(polars.col("gain_decay").is_finite())
    began, stands, alone = (
        float(np.mean(frame[name].to_numpy())) if len(frame) else math.nan
        for frame, name in ((first, "gain_norm"), (known if len(known) else last, "gain_norm"), (known, "gain_decay"))
    )
    if rows.single:
        return [f"The gains of the key norms have a norm of {number(stands)} on average."]
    went = f"The gains of the key norms went from {number(began)} to {number(stands)} on average"
    if known.is_empty():
        return [f"{went}; what weight decay alone would have left is not known, since no optimizer was watched."]
    against = "above it: training held them up" if stands > alone else "no higher: decay alone explains a fall"
    return [f"{went}; weight decay alone would have left {number(alone)}, and they stand {against}."]


def _share_without_structure(dim: int) -> float:
    """Mean share of the largest component of an isotropic direction, simulated with a fixed seed to about 1 %."""
    squares = np.random.default_rng(0).standard_normal((8192, dim)) ** 2
    return float((squares.max(axis=1) / squares.sum(axis=1)).mean())


def _largest_without_structure(last: polars.DataFrame) -> float:
    """Median of the largest of all components if keys were Gaussian with their own mean norm, mean over heads."""
    from scipy.stats import norm as gaussian

    found = []
    for row in last.iter_rows(named=True):
        dim = 3 * row["participation_null"] - 2
        beyond = 1 - 0.5 ** (1 / (row["vectors"] * dim))
        found.append(row["norm_mean"] / math.sqrt(dim) * float(gaussian.isf(beyond / 2)))
    return float(np.mean(found))
