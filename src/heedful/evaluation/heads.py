"""Build the head table: statistics, named pattern and verdict of every head."""

from __future__ import annotations

import math

import numpy as np

from heedful.attention.registry import STATISTICS
from heedful.evaluation.missing import ROUNDING
from heedful.evaluation.named_patterns import PatternEvidence, pattern_evidence
from heedful.evaluation.result import HeadRow
from heedful.evaluation.study import Study
from heedful.evaluation.token_probes import REPEATED
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import FEWEST, SHARE, TOO_FEW, UNBOUNDED, mean_interval
from heedful.interception.call_record import call_number, head_label

SHARP, SELECTIVE, WEAK, DIFFUSE, UNDEFINED = "SHARP", "SELECTIVE", "WEAK", "DIFFUSE", "UNDEFINED"


def head_table(study: Study) -> list[HeadRow]:
    """Return the head table of a study, one row per head; cached in the study."""
    return study.once(head_rows)


def head_rows(study: Study) -> list[HeadRow]:
    """Return one row per head, ordered by layer and head.

    A head is SHARP or SELECTIVE, WEAK or DIFFUSE by whole intervals over documents (``Margins``); UNDEFINED where no
    row of it sees enough keys or its weights are not finite.
    """
    evidence = study.observed
    intervals = {
        name: mean_interval(study.units(evidence.stacked(name)), within=_range(name))
        for name in (*STATISTICS, "log_contrast")
    }
    log_concentration = _log_concentration(study)
    repeats, patterns = _on_repeats(study), pattern_evidence(study)
    rows, position = [], 0
    for layer in evidence.layers:
        for head in range(layer.heads):
            at = {name: interval.at(position) for name, interval in intervals.items()}
            verdict, reason = _verdict(study, log_concentration.at(position), at)
            statistics = {name: float(at[name].estimate) for name in at}
            here = {name: interval.at(position) for name, interval in repeats.items()}
            for name in REPEATED:
                statistics[name] = float(here[name].estimate) if name in here else math.nan
            statistics |= patterns.statistics(position)
            rows.append(
                HeadRow(
                    layer=layer.layer,
                    module=layer.path,
                    head=head,
                    label=head_label(layer.module, layer.layer, head, call_number(layer.path)),
                    verdict=verdict,
                    pattern=_pattern(study, at, here, patterns, position),
                    statistics=statistics,
                    reason=reason,
                )
            )
            position += 1
    return rows


def _range(name: str) -> tuple[float, float]:
    return STATISTICS[name].bounds if name in STATISTICS else UNBOUNDED


def _log_concentration(study: Study) -> Interval:
    """Interval of the log of the geometric mean over documents, ``(all heads,)``."""
    logs = np.log(np.clip(study.units(study.observed.stacked("concentration")), ROUNDING, None))
    return mean_interval(logs)


def could_be_selective(study: Study) -> int:
    """Return how many heads could be selective: their confidence interval reaches above the margin."""
    return int((np.asarray(_log_concentration(study).high) > math.log(study.settings.margins.selective)).sum())


def _on_repeats(study: Study) -> dict[str, Interval]:
    """Intervals of the masses on random repeats by name; none for a model that sees both ways."""
    if not study.hides_future or study.on_repeats is None:
        return {}
    return {name: mean_interval(study.on_repeats.stacked(name), within=SHARE) for name in REPEATED}


def _verdict(study: Study, log_concentration: Interval, at: dict[str, Interval]) -> tuple[str, str]:
    margins = study.settings.margins
    low, high = float(log_concentration.low), float(log_concentration.high)
    plain = float(np.exp(float(log_concentration.estimate)))
    if math.isfinite(plain) and int(log_concentration.units) < FEWEST:
        return UNDEFINED, f"{TOO_FEW}: {log_concentration.units}, at least {FEWEST} are needed; {plain:.3g} nats"
    if not math.isfinite(plain) or math.isnan(low):
        return UNDEFINED, "no row of this head sees at least 8 keys with finite weights in two documents"
    shown = f"{plain:.3g} [{math.exp(low):.3g}, {math.exp(high):.3g}] nats from uniform"
    weight, keys = at["max_weight"], at["effective_keys"]
    if low > math.log(margins.selective):
        if float(weight.low) > margins.sharp_weight or float(keys.high) < margins.sharp_keys:
            return (
                SHARP,
                f"{shown}; {float(keys.estimate):.3g} effective keys, largest weight {float(weight.estimate):.2f}",
            )
        return SELECTIVE, f"{shown}, above {margins.selective}"
    if high < math.log(margins.diffuse):
        return DIFFUSE, f"{shown}, below {margins.diffuse}"
    return WEAK, f"{shown}, not all above {margins.selective} and not all below {margins.diffuse}"


def _pattern(
    study: Study, at: dict[str, Interval], repeats: dict[str, Interval], patterns: PatternEvidence, position: int
) -> str:
    """Name of what a head does, the strongest first.

    A head that finds earlier copies rests on the first key wherever the text holds none, so that its part of the
    repeats is named before the sink that it is on the text.
    """
    margins = study.settings.margins
    copies = [("induction", repeats.get("induction_mass")), ("duplicate token", repeats.get("duplicate_mass"))]
    named = [*copies, ("previous token", at["previous_mass"]), ("own token", at["self_mass"])]
    for name, interval in named:
        if interval is not None and float(interval.low) > margins.pattern:
            return name
    if (offset := patterns.offset(position, margins.pattern)) is not None:
        return f"offset {offset:+d}"
    partly = [name for name, one in named if one is not None and float(one.low) > margins.pattern_partial]
    if partly and partly[0] in dict(copies):
        return f"partly {partly[0]}"
    is_dormant = patterns.exceeds("near_zero_mass", position, margins.near_zero)
    if float(at["sink_mass"].low) > margins.sink:
        return "dormant sink" if is_dormant else "first key"
    if patterns.exceeds("later_sink_mass", position, margins.sink):
        key = patterns.figures["later_sink_key"][position]
        name = "later sink" if math.isnan(key) else f"sink at key {int(key)}"
        return f"dormant, {name}" if is_dormant else name
    if is_dormant:
        return "dormant"
    if partly:
        return f"partly {partly[0]}"
    return "local" if float(at["log_contrast"].low) > margins.log_odds else ""
