"""Build the head table: statistics, named pattern and verdict of every head.

Compute the head-table columns on named patterns: mass at fixed offsets, sinks after the first key, hidden-state
norm at the sink, value-weighted mass, largest logit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heedful.attention.registry import STATISTICS
from heedful.evaluation.evidence import Array
from heedful.evaluation.pattern_probes.key_sinks import OFFSETS
from heedful.evaluation.probes import REPEATED
from heedful.evaluation.result import HeadRow
from heedful.evaluation.same_pass import NORM_SEQUENCES, hidden_norms
from heedful.evaluation.study import Study
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import FEWEST, SHARE, TOO_FEW, UNBOUNDED, mean_interval
from heedful.inference.units import ROUNDING
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


OTHERWISE_NAMED = (0, -1)
"""Offsets that have names of their own: own token and previous token."""

LEVEL = 1 - 0.05 / (len(OFFSETS) - len(OTHERWISE_NAMED))
"""Level of each offset's interval, so that all offsets of a head together miss in 5 %."""


@dataclass(frozen=True)
class PatternEvidence:
    """Measurements of named patterns for all heads, in head-table order; a field is an empty dict or None if its
    probes did not run.

    Attributes:
        offsets: Intervals ``(all heads, offset)`` of the mass at each offset of ``OFFSETS``, or None.
        masses: Name to interval ``(all heads,)``: ``later_sink_mass``, ``weighted_sink_mass``, ``near_zero_mass``.
        figures: Name to ``(all heads,)``: ``max_logit``, ``later_sink_key``, ``sink_norm_ratio``.
    """

    offsets: Interval | None
    masses: dict[str, Interval]
    figures: dict[str, Array]

    def statistics(self, position: int) -> dict[str, float]:
        """Return the named-pattern statistics for the head-table row of one head, by name."""
        found = {name: float(interval.at(position).estimate) for name, interval in self.masses.items()}
        found |= {name: float(values[position]) for name, values in self.figures.items()}
        if self.offsets is not None:
            place = self._best(position)
            found["offset"] = math.nan if place is None else float(OFFSETS[place])
            found["offset_mass"] = (
                math.nan if place is None else float(np.asarray(self.offsets.estimate)[position, place])
            )
        return found

    def offset(self, position: int, above: float) -> int | None:
        """Return the offset with the largest mean weight if its interval lies above ``above``, else None; the own and
        the previous token do not count.
        """
        if self.offsets is None or (place := self._best(position)) is None:
            return None
        return OFFSETS[place] if float(np.asarray(self.offsets.low)[position, place]) > above else None

    def exceeds(self, name: str, position: int, above: float) -> bool:
        """Return whether the confidence interval of one head's mass ``name`` lies wholly above ``above``."""
        return name in self.masses and float(self.masses[name].at(position).low) > above

    def _best(self, position: int) -> int | None:
        """Place in ``OFFSETS`` of the largest mass that has no other name."""
        if self.offsets is None:
            return None
        means = np.array(np.asarray(self.offsets.estimate)[position], dtype=float)
        means[[OFFSETS.index(offset) for offset in OTHERWISE_NAMED]] = np.nan
        return None if np.isnan(means).all() else int(np.nanargmax(means))


def pattern_evidence(study: Study) -> PatternEvidence:
    """Compute the named-pattern measurements of all heads on the study's text.

    Args:
        study: The study.
    """
    evidence = study.observed
    offsets = None
    if evidence.has("offset_mass"):
        offsets = mean_interval(study.units(evidence.stacked("offset_mass")), within=SHARE, level=LEVEL)
    masses = {
        name: mean_interval(study.units(evidence.stacked(name)), within=SHARE)
        for name in ("later_sink_mass", "weighted_sink_mass", "near_zero_mass")
        if evidence.has(name)
    }
    figures: dict[str, Array] = {}
    if evidence.has("max_logit"):
        values = evidence.stacked("max_logit")
        largest = np.where(np.isnan(values), -np.inf, values).max(axis=0)
        figures["max_logit"] = np.where(np.isinf(largest), np.nan, largest)
    if evidence.has("later_sink_key"):
        figures["later_sink_key"] = _usual(evidence.stacked("later_sink_key"))
    if evidence.has("top_key"):
        figures["sink_norm_ratio"] = _norm_ratios(study)
    return PatternEvidence(offsets, masses, figures)


def _usual(places: Array) -> Array:
    """The position that at least half of the sequences name, ``(all heads,)``; NaN where there is none."""
    found = np.full(places.shape[1], np.nan)
    for head, column in enumerate(places.T):
        known = column[~np.isnan(column)]
        if len(known):
            values, counts = np.unique(known, return_counts=True)
            if 2 * counts.max() >= len(known):
                found[head] = values[counts.argmax()]
    return found


def _norm_ratios(study: Study) -> Array:
    """Norm of the hidden state of each head's heaviest key over the median of its sequence, ``(all heads,)``.

    The mean over the first sequences; NaN where the block around the attention shows no hidden states.
    """
    batches = study.first_batches(NORM_SEQUENCES)
    layers = study.observed.layers
    paths = [layer.path for layer in layers if "#" not in layer.path]
    known = study.same_pass.norms(len(batches)) if study.same_pass is not None else None
    norms = hidden_norms(study.model, batches, paths) if known is None else known
    count = sum(len(batch.index) for batch in batches)
    real = np.concatenate([batch.attention_mask.bool().cpu().numpy() for batch in batches])
    place = np.argsort(~real, axis=1, kind="stable")  # of each position, padding not counted, in the tensor
    found = []
    for layer in layers:
        keys = layer.values["top_key"][:count]
        ratio = np.full(keys.shape, np.nan)
        own = norms.get(layer.path)
        if own is not None and len(own) == count:
            finite = ~np.isnan(own).all(1)
            middle = np.full(len(own), np.nan)
            middle[finite] = np.nanmedian(own[finite], axis=1)
            row, head = np.nonzero(~np.isnan(keys) & (np.nan_to_num(keys) < own.shape[1]))
            norm = own[row, place[row, keys[row, head].astype(int)]]
            ratio[row, head] = norm / np.where(middle[row] > 0, middle[row], np.nan)
        known = ~np.isnan(ratio)
        found.append(np.where(known.any(0), np.where(known, ratio, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan))
    return np.concatenate(found)
