"""Run all remedies for derived attention on the same text.

Next-token loss of single frozen heads on held-out text. A good attention pattern lowers it only if the values suit
the attended positions.

Compute the attention logits of a variant on text, from the derived model or from an oracle.

Means over documents with intervals, for all numbers of a suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.evidence import Array
from heedful.inference.mean_interval import AT_LEAST_0, UNBOUNDED, Effect, mean_interval
from heedful.inference.signflip import sign_flip
from heedful.inference.units import document_means
from heedful.ngrams.alignment.aligned_sums import RANGES, skill_by_document
from heedful.ngrams.derivation.calibrated import best_temperature
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.derivation.row_alignment import row_alignment
from heedful.ngrams.remedies.heads import Head, Likelihood, frequencies, heads_of
from heedful.ngrams.remedies.model_variants import head_logits
from heedful.ngrams.remedies.record import AblationSuite, Agreement, GivenModel, HeadLoss, Remedy, Step
from heedful.ngrams.remedies.variant import GivenHeads, Material, Pieces, RemedyContext, Variant

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


MOST = 1 - 1e-6
"""Largest share of a head in its mixture with frequencies, which keeps the loss finite."""

BIGRAM = 1
"""Its place among the heads."""


def head_losses(
    material: Material, context: RemedyContext, seeds: Sequence[int]
) -> tuple[list[HeadLoss], dict[str, str]]:
    """Return the loss of each single head in the order of the page's table, and why other heads have none, by name.

    Each head's distribution is mixed with token frequencies, at a share fitted on other pieces of text.

    Args:
        material: Counts and text.
        context: Of the models whose matrices are read.
        seeds: Of their embeddings; losses are means over them.
    """
    heads, skipped = heads_of(material, context, seeds)
    measured = [_losses(head, material) for head in heads]
    values = document_means(np.stack([loss for loss, _ in measured], axis=-1), material.measured.document)
    gains = values[:, BIGRAM : BIGRAM + 1] - values
    losses, message = effects(values, AT_LEAST_0), effects(gains)
    tested = np.delete(np.arange(len(heads)), BIGRAM)
    p = np.full(len(heads), np.nan)
    p[tested] = sign_flip(gains[:, tested], resamples=FLIPS, seed=0).p_adjusted
    rows = [
        HeadLoss(
            name=head.name,
            attends=head.attends,
            takes=head.takes,
            loss=losses[place],
            gain=message[place],
            weight=measured[place][1] if place else float("nan"),
            p=float(p[place]),
        )
        for place, head in enumerate(heads)
    ]
    return rows, skipped


def _losses(head: Head, material: Material) -> tuple[Array, float]:
    """Mean loss of each measured piece ``(sequence,)``, and the share, both means over seeds."""
    frequency = frequencies(material.first)
    base = [frequency[pieces.tokens[:, 2:]] for pieces in (material.fitting, material.measured)]
    losses, shares = [], []
    for likelihood in head.likelihoods:
        share = _share(_of(likelihood, material.fitting), base[0])
        losses.append(-np.log(_mixed(_of(likelihood, material.measured), base[1], share)).mean(-1))
        shares.append(share)
    return np.mean(losses, axis=0), float(np.mean(shares))


def _of(likelihood: Likelihood, pieces: Pieces) -> Array:
    return np.stack([likelihood(tokens) for tokens in pieces.tokens])


def _mixed(head: Array, frequency: Array, share: float) -> Array:
    return share * head + (1 - share) * frequency


def _share(head: Array, frequency: Array) -> float:
    """Share of the head at which the mixture has the least loss, one row more counted of which the head knows nothing.

    Without that row a head that met no surprise would be believed wholly, and its first surprise would be its mean.
    """

    def loss(share: float) -> float:
        return float(-np.log(_mixed(head, frequency, share)).sum() - np.log1p(-share))

    return float(minimize_scalar(loss, bounds=(0.0, MOST), method="bounded", options={"xatol": 1e-6}).x)


def variant_logits(variant: Variant, material: Material, seed: int) -> Callable[[np.ndarray], Array]:
    """Return a function from tokens to the attention logits of a variant.

    Args:
        variant: Which.
        material: Counts, and text that calibrations of its recipe are fitted on.
        seed: Of embeddings, and of whatever is random; of given heads, which of them.

    Returns:
        Tokens ``(sequence, position)`` to logits ``(sequence, row, column)`` of rows from the second on: keys, -inf
        behind the query, and a column more where a given head has a learned sink.

    Raises:
        UsageError: The recipe cannot exist for these counts or this width.
        InputRejected: A matrix has no directions, or its decomposition does not converge; or a given head hides keys.
    """
    source = variant.source
    if isinstance(source, GivenHeads):
        given, layer, head = source.heads[seed]
        return lambda tokens: head_logits(given, tokens, layer, head)
    if not isinstance(source, DerivationRecipe):
        return lambda tokens: _hidden(source(material, tokens, seed))
    model = _model(source, variant.fed, material, seed)
    return lambda tokens: head_logits(model.model, tokens, variant.layer, 0)


def _model(
    recipe: DerivationRecipe, fed: Mapping[str, str], material: Material, seed: int
) -> HeedfulDerivedForCausalLM:
    length = material.measured.tokens.shape[1]
    documents = list(material.fitting.tokens)
    model = derive(
        material.tables, recipe, documents, length, seed, spreads=material.spreads, shared=material.shared
    ).model
    if not fed:
        return model
    config = HeedfulDerivedConfig(**{**model.config.to_dict(), **fed})
    other = HeedfulDerivedForCausalLM(config)
    other.load_state_dict(model.state_dict())
    return other.eval()


def _hidden(logits: Array) -> Array:
    behind = np.triu(np.ones(logits.shape[1:], dtype=bool), 2)
    return np.where(behind, -np.inf, logits)


FLIPS = 9999
"""Sign vectors of a test whose p is adjusted for all its entries."""


def effects(values: Array, within: tuple[ArrayLike, ArrayLike] = UNBOUNDED) -> list[Effect]:
    """Return the mean over documents of each column of ``values``, ``(document, column)``, with its 95 % interval.

    Args:
        values: ``(document, column)``.
        within: Least and largest value that a mean can have, each a number or one a column.
    """
    interval = mean_interval(values, within=within)
    found = []
    for column in range(values.shape[1]):
        one = interval.at(column)
        found.append(Effect(estimate=float(one.estimate), low=float(one.low), high=float(one.high), n=int(one.units)))
    return found
