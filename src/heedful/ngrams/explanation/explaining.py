"""Explain derived attention from a sweep of matrix scales, the geometry of scores, and the cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from scipy.special import entr, log_softmax

from heedful.attention.engines.points import logits_of
from heedful.errors import InputRejected
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import evaluating, refuse_nonfinite
from heedful.inference.effect import Effect
from heedful.inference.mean_interval import mean_interval
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.ngrams.alignment.record import ROUNDING
from heedful.ngrams.alignment.skill import skill_by_document
from heedful.ngrams.derivation.affinities import probability
from heedful.ngrams.derivation.expected import expected_rows
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import Spreads, derive
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.derivation.row_alignment import row_alignment
from heedful.ngrams.derivation.shared_factors import LIMIT, SharedFactors
from heedful.ngrams.derivation.table import NgramTable
from heedful.ngrams.derivation.temperature import best_temperature
from heedful.ngrams.explanation.cause import cause_of, reading_of
from heedful.ngrams.explanation.geometry import decomposition_of, geometry_of, raw_score
from heedful.ngrams.explanation.record import Explanation, FirstHead, Scale, ScaledLayer

SCALES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Standard deviations of the published sweep."""

COLUMNS = ("entropy", "share", "largest", "divergence", "uniform", "match", "chance")

EXPLAINED = {
    **dict.fromkeys(("entropy", "divergence", "uniform"), (0.0, np.inf)),
    **dict.fromkeys(("share", "largest", "match", "chance"), (0.0, 1.0)),
    "paired_skill": (-np.inf, 1.0),
}
"""What each mean can be."""

Progress = Callable[[int, int, str], None]


def explain(
    model: HeedfulDerivedForCausalLM,
    tables: Mapping[tuple[int, int], NgramTable],
    recipe: DerivationRecipe,
    documents: Sequence[Array],
    *,
    name: str = "",
    seed: int = 0,
    notes: Sequence[str] = (),
    spreads: Spreads | None = None,
    scales: Sequence[float] = SCALES,
    progress: Progress = lambda done, total, what: None,
) -> Explanation:
    """Measure attention, unchanged and with rescaled matrices, and name the cause.

    Args:
        model: A derived model.
        tables: Counts, at least those that the recipe reads.
        recipe: What the model was made by.
        documents: Token numbers, ``(position,)`` each and of one length of at least 2; short: rows are held whole.
        name: Of the model.
        seed: That the model was made with.
        notes: What is to be known of the counts.
        spreads: Of the logits of the reference model that it was calibrated by, where it was.
        scales: Standard deviations to try.
        progress: Called with (done, total, what).

    Raises:
        InputRejected: A weight is not finite, or the counts expect equal weights of every row of the text.
    """
    refuse_nonfinite(model, name or type(model).__name__)
    progress(0, len(scales) + 1, "scales")
    expected = _expected(tables, recipe, documents)
    own, logits = _scale(model, expected, documents, None)
    head = _first_head(expected[0][0], logits)
    if not head.uniform > ROUNDING:
        message = "every row is expected to weigh its keys alike: there is no attention to explain"
        raise InputRejected("counts", message, "count a text of more kinds of tokens, or explain on another --text")
    found = []
    length, shared = model.config.max_position_embeddings, SharedFactors(LIMIT)
    first = derive(tables, recipe, documents, length, seed, spreads=spreads, shared=shared).heads[0][0]
    for done, std in enumerate(scales):
        changed = replace(recipe, calibration="std", target=std, value_calibration="std", value_std=std)
        made = derive(tables, changed, documents, length, seed, shared=shared).model
        found.append(_scale(made, expected, documents, std)[0])
        progress(done + 2, len(scales) + 1, "scales")
    geometry = geometry_of(model, tables[1, recipe.skip(0)], recipe)
    rows = np.arange(1, len(documents[0]))
    return Explanation(
        model=name or type(model).__name__,
        recipe=asdict(recipe),
        tokens=len(documents[0]),
        documents=len(documents),
        ceiling=float(np.log(rows + 1).mean()),
        own=own,
        scales=found,
        first_head=head,
        geometry=geometry,
        decomposition=decomposition_of(tables[recipe.context(0), recipe.skip(0)], recipe, first.report),
        cause=cause_of(recipe, own.layers[0], head, geometry, reading_of(model, recipe, first.unread)),
        notes=list(notes),
    )


def _expected(
    tables: Mapping[tuple[int, int], NgramTable], recipe: DerivationRecipe, documents: Sequence[Array]
) -> list[list[Array]]:
    """What each layer's heads are expected to weigh, ``(document, row, key)`` by layer and head."""
    rows = np.arange(1, len(documents[0]))
    found: dict[int, Array] = {}

    def of(table: NgramTable) -> Array:
        if id(table) not in found:
            likelihood = probability(table)
            found[id(table)] = np.stack([expected_rows(table, tokens, rows, likelihood) for tokens in documents])
        return found[id(table)]

    return [[of(_table(tables, recipe, layer, head)) for head in range(recipe.heads)] for layer in range(recipe.layers)]


def _scale(
    model: HeedfulDerivedForCausalLM,
    expected: Sequence[Sequence[Array]],
    documents: Sequence[Array],
    std: float | None,
) -> tuple[Scale, list[Array]]:
    """A model's layers, and the first head's logits of each document ``(row, key)``."""
    calls: list[Array] = []

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            calls.append(np.asarray(logits_of(event.call, 1, event.call.n_queries).double().cpu().numpy()))

    with evaluating(model), torch.no_grad(), intercept(model, visit):
        model.model(torch.from_numpy(np.stack(documents)).to(model.device))
    rows = np.arange(1, calls[0].shape[-1])
    behind = np.arange(calls[0].shape[-1])[None, :] > rows[:, None]
    hidden = [np.where(behind, -np.inf, call) for call in calls]
    layers = [
        _layer(number, call, expected[number], rows, raw_score(model, number)) for number, call in enumerate(hidden)
    ]
    return Scale(std=std, layers=layers), list(hidden[0][:, 0])


def _layer(
    number: int,
    logits: Array,
    expected: Sequence[Array],
    rows: np.ndarray,
    raw: float,
) -> ScaledLayer:
    """One layer's numbers from its logits ``(document, head, row, key)`` and what is expected of each head."""
    logs = log_softmax(logits, axis=-1)
    weights = np.exp(logs)
    entropy = entr(weights).sum(-1)
    seen = np.isfinite(logits)
    sizes = np.where(seen, logits, np.nan)
    values = np.empty((len(logits), len(COLUMNS)))
    values[:, 0] = entropy.mean((1, 2))
    values[:, 1] = (entropy / np.log(rows + 1)).mean((1, 2))
    values[:, 2] = weights.max(-1).mean((1, 2))
    for place in range(len(logits)):
        parts = [row_alignment(wanted[place], logs[place, head], rows) for head, wanted in enumerate(expected)]
        values[place, 3:] = [
            np.nanmean([np.nanmean(column) for column in columns])
            for columns in (
                [part.divergence for part in parts],
                [part.uniform_divergence for part in parts],
                [part.match for part in parts],
                [part.uniform_match for part in parts],
            )
        ]
    skill = skill_by_document(values[:, 3], values[:, 4])
    ranges = np.array([EXPLAINED[word] for word in (*COLUMNS, "paired_skill")]).T
    interval = mean_interval(np.concatenate([values, skill[:, None]], axis=1), within=(ranges[0], ranges[1]))
    effects = {}
    for column, word in enumerate((*COLUMNS, "paired_skill")):
        one = interval.at(column)
        effects[word] = Effect(estimate=float(one.estimate), low=float(one.low), high=float(one.high), n=int(one.units))
    return ScaledLayer(
        layer=number,
        raw=raw,
        logit=float(np.nanmean(np.abs(sizes))),
        spread=float(np.nanmean(np.nanstd(sizes, axis=-1))),
        **effects,
    )


def _table(tables: Mapping[tuple[int, int], NgramTable], recipe: DerivationRecipe, layer: int, head: int) -> NgramTable:
    key = (recipe.context(layer), recipe.skip(head))
    return tables[key] if key in tables else tables[1, recipe.skip(head)]


def _first_head(expected: Array, logits: Sequence[Array]) -> FirstHead:
    """The first head beside its table, as it is and at the factor at which it agrees best."""
    rows = np.arange(1, expected.shape[-1])
    factor = best_temperature(list(expected), logits)

    def at(times: float) -> tuple[float, float]:
        found = [
            row_alignment(wanted, log_softmax(times * given, axis=-1), rows)
            for wanted, given in zip(expected, logits, strict=True)
        ]
        pairs = [[np.nanmean(part.divergence), np.nanmean(part.uniform_divergence)] for part in found]
        divergence, uniform = np.nanmean(pairs, axis=0)
        return float(divergence), float(uniform)

    (now, uniform), (least, _) = at(1.0), at(factor)
    return FirstHead(divergence=now, uniform=uniform, factor=factor, least=least)
