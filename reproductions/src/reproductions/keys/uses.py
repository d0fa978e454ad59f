"""Claims on a penalty on the largest key component in training, tested with controls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval, student_t
from reproductions.deciding import below, beside
from reproductions.evidence import Measurements, NotMeasured
from reproductions.keys import tables
from reproductions.published import published

SIZES = {"tiny": "2-layer", "twin": "6-layer"}
PLAIN, WEAK, STRONG, HELD = "decay", "low", "high", "held"
EQUAL = 0.01
"""Share by which a loss may be higher and count as equal."""
ALIKE = 0.02
"""Difference of shares below which two ways count as doing the same."""


@published(
    note="002",
    section="implications, 2",
    sentence="Penalising the largest component spreads the energy of keys, at equal loss.",
    figure="proposed",
)
def penalty_spreads_energy(evidence: Measurements) -> list[Finding]:
    """Compare largest component, its share and held-out loss with and without the weak penalty, paired by seed."""
    found: list[Finding] = []
    for size, name in SIZES.items():
        try:
            shares, losses, largest = (_differences(evidence, size, WEAK, of) for of in (_share, _loss, _largest))
        except NotMeasured:
            continue
        weight = _weight(evidence, size, WEAK)
        found += [
            below(shares, 0.0, f"Change of the share of a key's energy in its largest component, penalty {weight:g}, "
                  f"{name} runs, paired by seed.", unit="share", null="0: the same seeds without"),
            below(losses, EQUAL, "Change of the held-out loss, as a share of it.", unit="share", null="0"),
            beside(largest, "Change of the largest component of all keys of a head.", unit="components", null="0"),
            *_strong(evidence, size),
        ]  # fmt: skip
    return _or_missing(found)


@published(
    note="002",
    section="implications, 2",
    sentence="Penalising the largest component prevents attention sinks.",
    figure="proposed",
)
def penalty_prevents_sinks(evidence: Measurements) -> list[Finding]:
    """Compare the mass on the first key with and without the strong penalty, paired by seed."""
    found: list[Finding] = []
    for size, name in SIZES.items():
        try:
            change = _differences(evidence, size, STRONG, _sink)
            plain = student_t([_sink(run) for run in evidence.runs(f"{size}-{PLAIN}-*")])
        except NotMeasured:
            continue
        message = (
            f"Change of the mean mass on the first key, penalty {_weight(evidence, size, STRONG):g}, {name} runs, "
            f"paired by seed; without it the mass is {float(plain.estimate):.3f}, so that there is no sink to prevent."
        )
        found.append(below(change, 0.0, message, unit="mass", null="0: the same seeds without"))
    return _or_missing(found)


@published(
    note="002",
    section="implications, 2; control",
    sentence="Freeing gains of weight decay spreads the energy of keys as the penalty does.",
    figure="control",
)
def free_gains_spread_energy(evidence: Measurements) -> list[Finding]:
    """Compare removing weight decay on gains with the weak penalty, by the largest component's share, paired by
    seed.
    """
    found: list[Finding] = []
    for size, name in SIZES.items():
        try:
            beyond = _differences(evidence, size, HELD, _share, WEAK)
            shares, losses, largest = (_differences(evidence, size, HELD, of) for of in (_share, _loss, _largest))
        except NotMeasured:
            continue
        found += [
            below(beyond, ALIKE, "Share of a key's energy in its largest component without weight decay on gains, less "
                  f"that with penalty {_weight(evidence, size, WEAK):g}, {name} runs, paired by seed.", unit="share",
                  null=f"{ALIKE}: as the penalty does"),
            beside(shares, "The same less that with weight decay on gains and no penalty.", unit="share", null="0"),
            beside(losses, "Change of the held-out loss, as a share of it.", unit="share", null="0"),
            beside(largest, "Change of the largest component of all keys of a head.", unit="components", null="0"),
        ]  # fmt: skip
    return _or_missing(found)


def _strong(evidence: Measurements, size: str) -> list[Finding]:
    try:
        shares, losses = (_differences(evidence, size, STRONG, of) for of in (_share, _loss))
    except NotMeasured:
        return []
    weight = _weight(evidence, size, STRONG)
    return [
        beside(shares, f"Change of the share with penalty {weight:g}.", unit="share", null="0"),
        beside(losses, f"Change of the held-out loss with penalty {weight:g}.", unit="share", null="0"),
    ]


def _or_missing(found: list[Finding]) -> list[Finding]:
    if not found:
        raise NotMeasured(f"tiny-{WEAK}-*")
    return found


def _differences(
    evidence: Measurements, size: str, arm: str, of: Callable[[Path], float], beside_arm: str = PLAIN
) -> Interval:
    """Mean over seeds of a run's number less that of the run of the same seed in another arm."""
    changes: list[float] = []
    for run in evidence.runs(f"{size}-{arm}-*"):
        plain = evidence.run(f"{size}-{beside_arm}-{run.name.rpartition('-')[2]}")
        one, other = of(run), of(plain)
        changes.append(one / other - 1 if of is _loss else one - other)
    return student_t(np.array(changes))


def _heads(run: Path, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = tables.key_heads(tables.records(run / "heads"))[name].to_numpy()
    return values


def _share(run: Path) -> float:
    return float(_heads(run, "largest_share").mean())


def _largest(run: Path) -> float:
    return float(_heads(run, "global_max").max())


def _sink(run: Path) -> float:
    return float(_heads(run, "sink_mass").mean())


def _loss(run: Path) -> float:
    import json

    return float(json.loads((run / "held_out.json").read_text(encoding="utf-8"))["held_out_loss"])


def _weight(evidence: Measurements, size: str, arm: str) -> float:
    import json

    run = evidence.runs(f"{size}-{arm}-*")[0]
    settings = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]
    return float(settings["max_share_penalty"])
