"""``heedful.explain``: explain why derived attention is diffuse, sharp or on the wrong keys.

Explain derived attention from a sweep of matrix scales, the geometry of scores, and the cause.

Compare queries and keys of a derived model's first head with the affinity matrix they were computed from.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import entr, log_softmax

from heedful.attention.engines.points import logits_of
from heedful.errors import InputRejected, UsageError
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import evaluating, refuse_nonfinite
from heedful.inference.mean_interval import Effect, mean_interval
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.ngrams.alignment.aligned_sums import skill_by_document
from heedful.ngrams.alignment.record import ROUNDING
from heedful.ngrams.derivation.affinities import affinity, probability
from heedful.ngrams.derivation.calibrated import best_temperature
from heedful.ngrams.derivation.decomposition import SMALL
from heedful.ngrams.derivation.factors import LIMIT, FactorReport, SharedFactors, factorised
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import Spreads, derive
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.derivation.row_alignment import expected_rows, row_alignment
from heedful.ngrams.derivation.table import NgramTable
from heedful.ngrams.explanation.cause import cause_of, reading_of
from heedful.ngrams.explanation.record import Decomposition, Explanation, FirstHead, Geometry, Scale, ScaledLayer

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenText
    from heedful.ngrams.counting.count import GivenCounts
    from heedful.ngrams.derivation.derive import Derivation


_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


def explain(
    model: str | Path | Derivation,
    counts: GivenCounts,
    *,
    text: GivenText | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Explanation:
    """Explain a derived model: measure its attention, unchanged and with rescaled matrices, and name the cause.

    The words are those of ``heedful ngrams explain``.

    Args:
        model: Folder that ``heedful.derive`` wrote, or what it returned with a folder.
        counts: The counts that it was derived from: their folder, or what ``heedful.read_counts`` gave.
        text: What is read; None for the text that ships with heedful.
        progress: Called with (done, total, what).

    Returns:
        The explanation.

    Raises:
        UsageError: The model is no folder.
        InputRejected: The model was not derived, the counts are of another tokenizer, or no document is long enough.

    Example:
        >>> heedful.explain("derived", "counts").save("why.html")  # doctest: +SKIP
    """
    from heedful.loading.loaded_model import load_model
    from heedful.ngrams.counting.count import backend, counts_of
    from heedful.ngrams.derivation.derive import pieces_of
    from heedful.ngrams.derivation.stored_derivation import derivation_record
    from heedful.ngrams.derivation.table import stored_table

    folder = _folder(model)
    made = derivation_record(folder)
    _log.info("%s is explained", folder)
    loaded = load_model(str(folder))
    stored = counts_of(counts, tokenizer=backend(loaded.tokenizer, str(folder)))
    tables = {pair: stored_table(stored, *pair) for pair in sorted(made.recipe.wanted())}
    return explanation_of(
        _derived(loaded.model, folder), tables, made.recipe, pieces_of(stored, text),
        name=str(folder), seed=made.seed, notes=made.notes(stored), spreads=made.spreads, progress=progress,
    )  # fmt: skip


def _folder(model: Any) -> Path:
    place = getattr(model, "out", model)
    if place is None and model is not None:
        raise UsageError("model: it was derived without a folder, from which it is read (give derive an out)")
    if not isinstance(place, str | Path):
        message = f"expected the folder that heedful.derive wrote, got {type(model).__name__}"
        raise UsageError(f"model: {message} (heedful.align takes any model)")
    return Path(place)


def _derived(model: Any, path: Path) -> HeedfulDerivedForCausalLM:
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM

    if not isinstance(model, HeedfulDerivedForCausalLM):
        message = f"it is a {type(model).__name__}, no derived model"
        raise InputRejected(str(path), message, "heedful ngrams align takes any model")
    return model


SCALES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Standard deviations of the published sweep."""

COLUMNS = ("entropy", "share", "largest", "divergence", "uniform", "match", "chance")

EXPLAINED = {
    **dict.fromkeys(("entropy", "divergence", "uniform"), (0.0, np.inf)),
    **dict.fromkeys(("share", "largest", "match", "chance"), (0.0, 1.0)),
    "paired_skill": (-np.inf, 1.0),
}
"""What each mean can be."""


def explanation_of(
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


MOST_TOKENS = 2000
"""Tokens, the first of the vocabulary, between which scores are compared with the affinity."""

LEADING = 4

DIAGONAL = 5
"""Diagonal entries of ``W_Q^T W_K`` that are shown."""


def raw_score(model: HeedfulDerivedForCausalLM, layer: int) -> float:
    """Return mean ``|q . k|`` over pairs of bare embeddings in a layer's first head, without norm, positions or scale.

    Args:
        model: A derived model.
        layer: Its layer.
    """
    query, key = _sides(model, model.model.embed_tokens.weight.detach().double()[:MOST_TOKENS], layer)
    return float((query @ key.T).abs().mean())


def geometry_of(model: HeedfulDerivedForCausalLM, table: NgramTable, recipe: DerivationRecipe) -> Geometry:
    """Measure similarity of the first head's queries and keys, and how scores match the affinity matrix.

    Args:
        model: A derived model.
        table: Counts after one token with the first head's skip.
        recipe: What the model was made by.
    """
    rows = model.model.embed_tokens.weight.detach().double()
    wanted = affinity(recipe.affinity, table)
    every = np.arange(min(table.vocabulary, MOST_TOKENS))
    matrix = wanted.at(every, every)
    products = (rows[: len(every)] @ rows[: len(every)].T).numpy()
    apart = products[~np.eye(len(products), dtype=bool)]
    length, width = float((rows.norm(dim=1) ** 2).mean()), rows.shape[1]
    factors = factorised(wanted, recipe.head_dim)
    left, right = (part / np.linalg.norm(part, axis=0) for part in (factors.left, factors.right))
    norm = model.model.layers[0].input_norm
    fed = rows[: len(every)] if norm is None else norm(rows[: len(every)].float()).double()
    query, key = _sides(model, fed, 0)
    correlation, error = _agreement(_centred((query @ key.T).detach().numpy()), _centred(matrix))
    span = _directions(rows.numpy())
    own = _read(model)
    product = own[0].T @ own[1]
    asked, answered = (_directions(part) for part in own)
    beside = [side.T @ rows.numpy() for side in (left, right) if len(side) == len(rows)]
    sizes = np.maximum(np.linalg.norm(rows.numpy(), axis=0), np.finfo(float).tiny)
    cosines = [float(np.abs(one / sizes).max()) for one in beside]
    return Geometry(
        asymmetry=float(np.abs(matrix - matrix.T).max() / np.abs(matrix).max()),
        similarity=(float(apart.mean()), float(apart.std())),
        null=length / math.sqrt(width),
        with_diagonal=(float(products.mean()), float(products.std())),
        diagonal_null=(length / len(products), length * math.sqrt(1 / len(products) + 1 / width)),
        overlap=float(((span.T @ left) ** 2).sum() / left.shape[1]),
        overlap_null=span.shape[1] / len(rows),
        shared=float(((asked.T @ answered) ** 2).sum() / min(asked.shape[1], answered.shape[1])),
        shared_null=max(asked.shape[1], answered.shape[1]) / width,
        coincidence=[float(abs(left[:, place] @ right[:, place])) for place in range(min(LEADING, left.shape[1]))],
        correlation=correlation,
        error=error,
        product=(float(product.mean()), float(np.abs(product).max())),
        product_diagonal=[float(value) for value in product.diagonal()[:DIAGONAL]],
        factor_means=(float(beside[0].mean()), float(beside[1].mean())) if len(beside) == 2 else None,
        factor_largest=(cosines[0], cosines[1]) if len(beside) == 2 else None,
    )


def decomposition_of(table: NgramTable, recipe: DerivationRecipe, report: FactorReport | None) -> Decomposition | None:
    """Return singular values, rank and errors of the first head's affinity matrix, or None if no matrix was decomposed.

    Args:
        table: Its counts.
        recipe: What the model was made by.
        report: Of the factorisation; None where there was none.
    """
    if report is None:
        return None
    shape = (int(table.counts.shape[0]), table.vocabulary)
    small = max(shape) <= SMALL
    return Decomposition(
        shape=shape,
        density=table.counts.nnz / (shape[0] * shape[1]),
        directions=factorised(affinity(recipe.affinity, table), min(shape)).report.rank if small else None,
        asked=report.asked,
        singular_values=[float(value) for value in report.singular_values],
        condition=report.condition,
        energy=report.energy,
        orthogonality=report.orthogonality,
        residual=report.residual,
        note=report.note,
    )


def _sides(model: HeedfulDerivedForCausalLM, rows: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys of a layer's first head for rows that stand for tokens; of the current token alone."""
    asked, answered = _read(model, layer)
    return rows @ torch.from_numpy(asked), rows @ torch.from_numpy(answered)


def _read(model: HeedfulDerivedForCausalLM, layer: int = 0) -> tuple[Array, Array]:
    """What queries and keys of the first head read of the current token, ``(width, dim)`` each."""
    attention = model.model.layers[layer].attention
    own, width = slice(0, attention.head_dim), model.config.hidden_size
    query = attention.q_proj.weight.detach()[own, :width].double().numpy().T
    return query, attention.k_proj.weight.detach()[own].double().numpy().T


def _directions(columns: Array) -> Array:
    """An orthonormal basis of the columns' span, those of singular value 0 left out."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > values.max(initial=0.0) * 1e-6])


def _centred(rows: Array) -> Array:
    """Rows about their means: what is added to a whole row changes no weight."""
    return np.asarray(rows - rows.mean(-1, keepdims=True))


def _agreement(scores: Array, wanted: Array) -> tuple[float, float]:
    """Correlation of two centred matrices, and what the better multiple of one leaves of the other."""
    product, size, own = float((scores * wanted).sum()), float((scores**2).sum()), float((wanted**2).sum())
    if not size > 0 or not own > 0:
        return math.nan, 1.0
    correlation = product / math.sqrt(size * own)
    return correlation, math.sqrt(max(0.0, 1 - max(correlation, 0.0) ** 2))
