"""Section 7: is attention more concentrated where inputs are more diverse, over layers or, if few, over documents?"""

from __future__ import annotations

import numpy as np

from heedful.evaluation.evidence import Array
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.evaluation.unit_values import unit_values
from heedful.inference.correlation import spearman_of_units, spearman_over_units
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import mean_interval
from heedful.inference.units import mean_of
from heedful.inference.verdict import Verdict

SOURCE = (
    "Spearman over layers of representation spread against concentration, bootstrap over documents and random pairings "
    "of layers; below 8 layers over documents, averaged over heads, with random pairings of documents"
)
FEWEST = 8
"""Layers below which the correlation is over documents."""

ATTEND = {
    "layers": "layers with more diverse input attend",
    "documents": "documents with more diverse input are attended",
}
SPREAD = 0.05
"""Mean pairwise cosine distance below which representations count as collapsed."""


@check(
    section=7,
    source=SOURCE,
    definition=3,
    meaning="Uniform attention over tokens that look alike is expected; over different tokens the layer chose it.",
)
def diversity_tracks_concentration(study: Study) -> list[Finding]:
    """Over layers, attention is more concentrated where the incoming representations are more diverse.

    In a model of fewer than 8 layers, as of one: over documents, within each head. One finding a layer says what
    entered and how concentrated the layer is: uniform attention over collapsed representations is expected, over
    diverse ones it is a fact about the layer.
    """
    layers = study.observed.layers
    spread = np.stack([study.units(layer.values["entering_spread"]) for layer in layers], axis=1)
    focus = np.stack([study.units(mean_of(layer.values["concentration"], axis=1)) for layer in layers], axis=1)
    if np.isnan(spread).all():
        return [
            Finding(
                claim="diversity_tracks_concentration",
                verdict=Verdict.SKIP,
                reason="no attention module takes representations (batch, token, width) as its input",
                source=SOURCE,
            )
        ]
    known = int((np.isfinite(mean_of(spread, axis=0)) & np.isfinite(mean_of(focus, axis=0))).sum())
    overall = _over_layers(study, spread, focus, known) if known >= FEWEST else _over_documents(study, spread)
    return [overall, *(_layer(study, layer.layer, spread[:, k], focus[:, k]) for k, layer in enumerate(layers))]


def _over_layers(study: Study, spread: Array, focus: Array, known: int) -> Finding:
    """The correlation over layers, of ``(document, layer)`` means."""
    interval = spearman_over_units(spread, focus, resamples=study.settings.resamples, seed=study.settings.seed)
    p = _by_chance(mean_of(spread, axis=0), mean_of(focus, axis=0), study.settings)
    return _judged(
        study,
        interval,
        p,
        things="layers",
        chance=f"{known} layers paired at random show as strong a correlation (p {p:.3g})",
        undefined="the documents vary too little between layers for an interval",
    )


def _over_documents(study: Study, spread: Array) -> Finding:
    """The correlation over documents within each head, averaged over heads; ``spread`` is ``(document, layer)``."""
    layers = study.observed.layers
    heads = [study.units(layer.values["concentration"]) for layer in layers]
    focus = np.concatenate(heads, axis=1)
    entered = np.repeat(spread, [one.shape[1] for one in heads], axis=1)
    there = ~(np.isnan(entered).all(axis=0) | np.isnan(focus).all(axis=0))
    found = spearman_of_units(
        entered[:, there], focus[:, there], resamples=study.settings.resamples, seed=study.settings.seed
    )
    alone = int((found.each_adjusted <= study.settings.alpha).sum())
    return _judged(
        study,
        found.interval,
        found.p,
        things="documents",
        chance=f"documents paired at random show as strong a correlation (p {found.p:.3g})",
        undefined="the documents do not differ in what enters, or in how it is attended",
        more=f"; {alone} of {found.each.size} heads show a correlation by themselves",
    )


def _judged(
    study: Study, interval: Interval, p: float, *, things: str, chance: str, undefined: str, more: str = ""
) -> Finding:
    """The finding of one correlation over layers or documents."""
    low, high = float(interval.low), float(interval.high)
    if interval.units < study.settings.least_units:
        verdict, reason = (
            Verdict.INSUFFICIENT,
            f"{interval.units} documents; at least {study.settings.least_units} are needed",
        )
    elif np.isnan(low):
        verdict, reason = Verdict.INSUFFICIENT, undefined
    elif low <= 0 <= high:
        verdict, reason = Verdict.WARN, f"no clear direction over {things}: the interval contains 0{more}"
    elif not p <= study.settings.alpha:
        verdict, reason = Verdict.WARN, chance + more
    elif low > 0:
        verdict, reason = Verdict.PASS, f"{ATTEND[things]} more sharply{more}"
    else:
        verdict, reason = Verdict.ABSENT, f"{ATTEND[things]} less sharply{more}"
    return Finding(
        claim="diversity_tracks_concentration",
        verdict=verdict,
        reason=reason,
        estimate=float(interval.estimate),
        interval=(low, high),
        unit="Spearman",
        n=int(interval.units),
        null=f"0: {things} paired at random",
        p=None if np.isnan(p) else p,
        threshold=0.0,
        source=SOURCE,
    )


def _by_chance(x: Array, y: Array, settings: Settings) -> float:
    """Share of random pairings of the layers that correlate as much, either way; NaN where nothing correlates.

    The interval over documents says how well this model's own correlation is known, not whether so few layers show one.
    Source: Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    from scipy.stats import rankdata

    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < FEWEST or np.ptp(x[there]) == 0 or np.ptp(y[there]) == 0:
        return float("nan")
    a, b = (np.asarray(rankdata(side[there])) - (there.sum() + 1) / 2 for side in (x, y))
    random = np.random.default_rng(settings.seed)
    paired = random.permuted(np.tile(b, (settings.resamples, 1)), axis=1) @ a
    return float((1 + (np.abs(paired) >= abs(a @ b) - 1e-9).sum()) / (settings.resamples + 1))


def _layer(study: Study, layer: int, spread: Array, focus: Array) -> Finding:
    interval = mean_interval(spread)
    mean = float(mean_of(focus))
    if np.isnan(mean) or np.isnan(float(interval.estimate)):
        seen = "no row sees enough keys" if np.isnan(mean) else "no representation entered that could be read"
        return Finding(
            claim="diversity_tracks_concentration", verdict=Verdict.UNDEFINED, reason=seen, source=SOURCE, layer=layer
        )
    collapsed, flat = float(interval.high) < SPREAD, mean < study.settings.margins.diffuse
    words = {
        (True, True): "collapsed representations, near-uniform attention: as expected",
        (True, False): "collapsed representations, yet attention off uniform: by position, or by small differences",
        (False, True): "representations not collapsed, yet near-uniform attention",
        (False, False): "representations not collapsed, attention off uniform",
    }
    return Finding(
        claim="diversity_tracks_concentration",
        verdict=Verdict.INFO,
        reason=f"{words[collapsed, flat]} ({mean:.2f} nats from uniform)",
        estimate=float(interval.estimate),
        interval=(float(interval.low), float(interval.high)),
        unit="cosine distance",
        n=len(spread),
        threshold=SPREAD,
        source=SOURCE,
        layer=layer,
        units=unit_values(spread),
    )
