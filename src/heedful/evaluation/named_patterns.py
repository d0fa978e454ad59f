"""Compute the head-table columns on named patterns: mass at fixed offsets, sinks after the first key, hidden-state
norm at the sink, value-weighted mass, largest logit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heedful.evaluation.evidence import Array
from heedful.evaluation.hidden_norms import NORM_SEQUENCES, hidden_norms
from heedful.evaluation.pattern_probes.offset_mass import OFFSETS
from heedful.evaluation.study import Study
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import SHARE, mean_interval

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
        """Return the offset with the largest mean weight (own and previous token excluded) if its confidence interval
        lies wholly above ``above``, otherwise None.
        """
        if self.offsets is None or (place := self._best(position)) is None:
            return None
        return OFFSETS[place] if float(np.asarray(self.offsets.low)[position, place]) > above else None

    def exceeds(self, name: str, position: int, above: float) -> bool:
        """Return whether the confidence interval of one head's attention mass called ``name`` lies wholly above the
        threshold ``above``.
        """
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
