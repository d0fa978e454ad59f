"""Run all remedies for derived attention on the same text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.special import entr, log_softmax

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.evidence import Array
from heedful.inference.mean_interval import AT_LEAST_0
from heedful.inference.signflip import sign_flip
from heedful.inference.units import document_means
from heedful.ngrams.alignment.aligned_sums import RANGES
from heedful.ngrams.alignment.skill import skill_by_document
from heedful.ngrams.derivation.row_alignment import row_alignment
from heedful.ngrams.derivation.temperature import best_temperature
from heedful.ngrams.remedies.effects import FLIPS, effects
from heedful.ngrams.remedies.logits import variant_logits
from heedful.ngrams.remedies.losses import head_losses
from heedful.ngrams.remedies.record import AblationSuite, Agreement, GivenModel, Remedy, Step
from heedful.ngrams.remedies.text import Material
from heedful.ngrams.remedies.variant import GivenHeads, RemedyContext, Variant

COLUMNS = ("divergence", "uniform", "cosine", "match", "chance")

BLOCK = 256
"""Pieces whose rows are compared at once."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Measured:
    """One variant over seeds, or over the given models that differ in them.

    Attributes:
        own: ``(seed, sequence, column)`` beside the counts it was derived from.
        unseen: The same beside counts of other text, or None.
        entropy: ``(seed, sequence)`` over the causal ceiling.
        factors: ``(seed,)`` best factors on the logits.
        best: Mean divergence at those.
    """

    own: Array
    unseen: Array | None
    entropy: Array
    factors: Array
    best: float


def run_ablations(
    material: Material,
    suite: Sequence[Variant],
    context: RemedyContext,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    names: tuple[str, str | None, str] = ("counts", None, "text"),
    notes: Sequence[str] = (),
    models: Sequence[GivenModel] = (),
    skipped: Mapping[str, str] = MappingProxyType({}),
    progress: Progress = lambda done, total, what: None,
) -> AblationSuite:
    """Measure all variants of a suite.

    Args:
        material: Counts and text.
        suite: Variants, in order; one whose counts or width are missing is named as skipped, with the reason.
        context: What their recipes share.
        seeds: Of embeddings and positions.
        names: Of the counts, of the counts of other text, of the text.
        notes: To be shown.
        models: Those that variants were given by, to be shown.
        skipped: What was left out before, name to reason.
        progress: Called with (done, total, what).

    Returns:
        Every variant with 95 % intervals over documents, seeds averaged within a document.

    Raises:
        InputRejected: No row of the text has an expectation.
    """
    if np.isnan(material.expected("measured", 1)).all():
        raise InputRejected(
            "counts", "no context of the text was counted, or nothing in view ever followed one", "count a longer text"
        )
    found: dict[str, _Measured] = {}
    missed = dict(skipped)
    for number, variant in enumerate(suite):
        missing = missing_counts(variant, material)
        if missing:
            missed[variant.name] = missing
            continue
        try:
            found[variant.name] = _measured(variant, material, seeds)
        except (UsageError, InputRejected) as error:
            missed[variant.name] = str(error)
        progress(number + 1, len(suite), "variants")
    progress(len(suite), len(suite) + 1, "heads alone")
    losses, unheard = head_losses(material, context, seeds)
    shown = [variant for variant in suite if variant.name in found]
    steps = _steps(shown, found, material.measured.document)
    expected = material.expected("measured", 1)
    return AblationSuite(
        counts=names[0],
        unseen=names[1],
        text=names[2],
        vocabulary=material.first.vocabulary,
        width=context.width,
        length=material.measured.tokens.shape[1],
        sequences=len(material.measured.tokens),
        documents=len(np.unique(material.measured.document)),
        seeds=len(seeds),
        rows=float(1 - np.isnan(expected).any(-1).mean()),
        remedies=[_remedy(variant, found[variant.name], steps.get(variant.name), material) for variant in shown],
        losses=losses,
        models=list(models),
        skipped=missed | unheard,
        notes=list(notes),
    )


def missing_counts(variant: Variant, material: Material) -> str:
    """Return which counts a variant still needs, and how to make them; empty if none are missing.

    Args:
        variant: Which.
        material: Counts.
    """
    missing = sorted(pair for pair in variant.wanted if pair not in material.tables)
    if not missing:
        return ""
    message = ", ".join(f"n={n} skip={skip}" for n, skip in missing)
    most, furthest = (max(pair[place] for pair in variant.wanted) for place in (0, 1))
    lengths, skips = (f"{least}..{last}" if last > least else f"{least}" for least, last in ((1, most), (0, furthest)))
    return f"counts of {message} are missing (heedful ngrams count --n {lengths} --skip {skips})"


def _measured(variant: Variant, material: Material, seeds: Sequence[int]) -> _Measured:
    pair = variant.n, variant.skip
    fitting, measured = (material.expected(which, *pair) for which in ("fitting", "measured"))
    unseen = material.expected("unseen", *pair) if pair in (material.unseen or {}) else None
    seeds = range(len(variant.source.heads)) if isinstance(variant.source, GivenHeads) else seeds
    own, other, entropy, factors, least = [], [], [], [], []
    for seed in seeds:
        logits_of = variant_logits(variant, material, seed)
        logits = logits_of(material.measured.tokens)
        factor = _best_temperature(fitting, logits_of(material.fitting.tokens))
        logs = _log_weights(logits, factor if variant.temperature == "best" else 1.0)
        own.append(_agreement(measured, logs))
        if unseen is not None:
            other.append(_agreement(unseen, logs))
        at_best = own[-1] if variant.temperature == "best" else _agreement(measured, _log_weights(logits, factor))
        least.append(np.nanmean(document_means(at_best[:, 0], material.measured.document)))
        among_keys = log_softmax(logs, axis=-1)
        entropy.append((entr(np.exp(among_keys)).sum(-1) / np.log(material.measured.rows + 1)).mean(-1))
        factors.append(factor)
    return _Measured(
        np.stack(own), np.stack(other) if other else None, np.stack(entropy), np.array(factors), float(np.mean(least))
    )


def _best_temperature(expected: Array, logits: Array) -> float:
    """The factor of least KL; nothing is expected of a sink, whose column stands behind those of the keys."""
    more = logits.shape[-1] - expected.shape[-1]
    wanted = np.pad(expected, ((0, 0), (0, 0), (0, more)))
    return best_temperature([_rows(wanted)], [_rows(logits)])


def _log_weights(logits: Array, factor: float) -> Array:
    """Log weights of the keys, ``(sequence, row, position)``: with a sink their weights sum to less than 1."""
    return np.asarray(log_softmax(factor * logits, axis=-1)[..., : logits.shape[-2] + 1])


def _rows(blocks: Array) -> Array:
    return blocks.reshape(-1, blocks.shape[-1])


def _agreement(expected: Array, log_weights: Array) -> Array:
    """``(sequence, column)``: means over the rows of each piece that have an expectation."""
    starts = range(0, len(expected), BLOCK)
    return np.concatenate(
        [_of_block(expected[start : start + BLOCK], log_weights[start : start + BLOCK]) for start in starts]
    )


def _of_block(expected: Array, log_weights: Array) -> Array:
    sequences, rows, _ = expected.shape
    found = row_alignment(_rows(expected), _rows(log_weights), np.tile(np.arange(1, rows + 1), sequences))
    columns = np.stack(
        [found.divergence, found.uniform_divergence, found.cosine, found.match, found.uniform_match], axis=-1
    ).reshape(sequences, rows, -1)
    present = ~np.isnan(columns)
    count = present.sum(1)
    return np.where(count > 0, np.where(present, columns, 0.0).sum(1) / np.maximum(count, 1), np.nan)


def _remedy(variant: Variant, found: _Measured, step: Step | None, material: Material) -> Remedy:
    document = material.measured.document
    means = [np.nanmean(document_means(one[:, 0], document)) for one in found.own]
    return Remedy(
        name=variant.name,
        group=variant.group,
        change=variant.change,
        n=variant.n,
        skip=variant.skip,
        agreement=_over_documents(found.own, document),
        unseen=None if found.unseen is None else _over_documents(found.unseen, document),
        entropy=effects(document_means(found.entropy.mean(0), document)[:, None], AT_LEAST_0)[0],
        seeds=len(found.own),
        spread=float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
        factor=float(np.exp(np.log(found.factors).mean())),
        best=found.best,
        step=step,
    )


def _over_documents(values: Array, document: np.ndarray) -> Agreement:
    means = document_means(values.mean(0), document)
    ranges = np.array([RANGES[name] for name in (*COLUMNS, "skill")]).T
    skill = skill_by_document(means[:, 0], means[:, 1])
    found = effects(np.concatenate([means, skill[:, None]], axis=-1), (ranges[0], ranges[1]))
    return Agreement(**dict(zip((*COLUMNS, "skill"), found, strict=True)))


def _steps(suite: Sequence[Variant], found: dict[str, _Measured], document: np.ndarray) -> dict[str, Step]:
    """Each variant beside the one it changes, p adjusted for all of them."""
    pairs = [(variant.name, variant.against) for variant in suite if variant.against in found]
    if not pairs:
        return {}
    gains = np.stack(
        [
            document_means((found[base].own.mean(0) - found[name].own.mean(0))[:, 0], document)
            for name, base in pairs
        ],
        axis=-1,
    )  # fmt: skip
    p = np.atleast_1d(sign_flip(gains, resamples=FLIPS, seed=0).p_adjusted)
    message = effects(gains)
    return {
        name: Step(against=base, gain=message[place], p=float(p[place])) for place, (name, base) in enumerate(pairs)
    }
