"""Measure the notes' remedies as content logits of the first head, and heads that use token pairs.

Temperatures are fitted on every other sequence and looked at on the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.calibrated import best_temperature
from heedful.ngrams.derivation.embeddings import embedding
from heedful.ngrams.derivation.encoder import encoded
from heedful.ngrams.derivation.factors import factorised, frequency_weights
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES
from heedful.ngrams.derivation.table import NgramTable
from reproductions.counts.attending import agreement, causal, content_logits, expectations, layer_logits
from reproductions.counts.rows import Row, rows_of
from reproductions.counts.samples import CountSample
from reproductions.counts.sweeping import ARMS, LENGTH, PUBLISHED, made

TEMPERED = (
    "normalised", "degree_regularised", "symmetrised", "residual", "probability", "sqrt_probability", "pmi", "ppmi",
)  # fmt: skip
"""Affinities whose logits want a temperature; log P wants none."""

WIDTHS = (16, 32, 64, 256)
EMBEDDED = ("random_unit", "ppmi_vectors", "normalised_factors", "log_probability_factors")
LOW, LONG = "log_probability", "log_probability_backoff"
RAW = np.sqrt(RECIPES["seed"].head_dim) * RECIPES["seed"].width
"""What raw logits are over the published ones, which are divided by the root of the head's dimensions and whose
matrices are made for embeddings of length 1, a layer norm's being the root of the width as long."""

Blocks = Sequence[np.ndarray]


def mended(sample: CountSample) -> list[Row]:
    """Return table rows of all remedies, one row for each measure and variant."""
    table, documents = sample.tables[1, 0], sample.documents
    expected = expectations(table, documents)
    rows = [*_affinities(table, documents, expected), *_embeddings(table, sample, expected)]
    return [*rows, *_models(sample, expected), *_unseen(sample), *_pairs(sample)]


def tempered(expected: Blocks, logits: Blocks) -> dict[str, float]:
    """Return the agreement on odd sequences at the temperature that is best on even ones."""
    factor = best_temperature(expected[::2], logits[::2])
    return agreement(expected[1::2], logits[1::2], factor) | {"factor": factor}


def plain(expected: Blocks, logits: Blocks) -> dict[str, float]:
    """Return the agreement of unscaled logits on odd sequences."""
    return agreement(expected[1::2], logits[1::2])


def _affinities(table: NgramTable, documents: Blocks, expected: Blocks) -> list[Row]:
    every = np.arange(table.vocabulary)
    rows = []
    for name in TEMPERED:
        logits = content_logits(affinity(name, table).at(every, every), documents)
        rows += rows_of("affinity", tempered(expected, logits), arm=name)
    for name in (LOW, LONG):
        logits = content_logits(affinity(name, table).at(every, every), documents)
        rows += rows_of("affinity", plain(expected, logits), arm=name)
    factors = factorised(affinity("normalised", table), RECIPES["seed"].head_dim)
    kept = content_logits(factors.left @ factors.right.T, documents)
    return [
        *rows,
        *rows_of("affinity", tempered(expected, kept), arm="normalised, rank 64"),
        *rows_of("affinity", {"identity_error": identity_error(table, documents, expected)}, arm="log P"),
    ]


def identity_error(table: NgramTable, documents: Blocks, expected: Blocks) -> float:
    """Return the largest difference between expected attention and the softmax of ``log P``, with ``log 0 = -inf``."""
    every = np.arange(table.vocabulary)
    with np.errstate(divide="ignore"):
        logits = content_logits(np.log(affinity("probability", table).at(every, every)), documents)
    worst = 0.0
    for wanted, given in zip(expected, logits, strict=True):
        rows = ~np.isnan(wanted).any(-1)
        largest = given[rows].max(-1, keepdims=True)
        weights = np.exp(given[rows] - largest)
        worst = max(worst, float(np.abs(weights / weights.sum(-1, keepdims=True) - wanted[rows]).max()))
    return worst


def _embeddings(table: NgramTable, sample: CountSample, expected: Blocks) -> list[Row]:
    """Embeddings of several widths, read by least squares; those of co-occurrence also by mere likeness."""
    rank, rows = RECIPES["seed"].head_dim, []
    plainly = factorised(affinity("normalised", table), rank)
    weighed = factorised(affinity(LOW, table), rank, frequency_weights(table))
    for width in WIDTHS:
        for name in EMBEDDED:
            fed = embedding(name, table, width, sample.seed)
            for word, factors, judged in (("M", plainly, tempered), ("log P", weighed, plain)):
                query, key = (encoded("pseudo_inverse", fed, part) for part in (factors.left, factors.right))
                logits = content_logits(fed @ query @ key.T @ fed.T, sample.documents)
                rows += rows_of("embedding", judged(expected, logits), arm=f"{name} {width} {word}")
        likeness = embedding("ppmi_vectors", table, width, sample.seed)
        logits = content_logits(likeness @ likeness.T, sample.documents)
        rows += rows_of("embedding", tempered(expected, logits), arm=f"likeness {width}")
    return rows


def _models(sample: CountSample, expected: Blocks) -> list[Row]:
    """First heads of whole models: at the best temperature, at raw weights, and as the corrected recipe has them."""
    rows = []
    for arm in ARMS:
        scaled, raw = (_first_head(made(sample, arm, std).model, sample) for std in (PUBLISHED, None))
        rows += rows_of("model", plain(expected, scaled), arm=arm)
        rows += rows_of("model", tempered(expected, scaled), arm=f"{arm}, best temperature")
        rows += rows_of("model", plain(expected, [block / RAW for block in raw]), arm=f"{arm}, raw")
    found = derive(sample.tables, RECIPES["corrected"], sample.documents, LENGTH, sample.seed)
    return [*rows, *rows_of("model", plain(expected, _first_head(found.model, sample)), arm="corrected")]


def _first_head(model: object, sample: CountSample) -> list[np.ndarray]:
    return list(layer_logits(model, sample.documents)[0][:, 0])  # type: ignore[arg-type]


def _unseen(sample: CountSample) -> list[Row]:
    """What counts of other text of the same book expect, and what these counts give."""
    table, wanted = sample.tables[1, 0], expectations(sample.unseen[1, 0], sample.documents)
    every = np.arange(table.vocabulary)
    rows = []
    for name, judged in (("normalised", tempered), (LONG, plain)):
        logits = content_logits(affinity(name, table).at(every, every), sample.documents)
        rows += rows_of("unseen", judged(wanted, logits), arm=name)
    return rows


def _pairs(sample: CountSample) -> list[Row]:
    """Heads that should follow what stands after two tokens."""
    documents, recipe = sample.documents, RECIPES["corrected"]
    expected, unseen = (expectations(tables[2, 0], documents) for tables in (sample.tables, sample.unseen))
    two = replace(recipe, shortest=2, longest=2)
    last = derive(sample.tables, replace(two, query="last_token"), documents, LENGTH, sample.seed)
    both = derive(sample.tables, two, documents, LENGTH, sample.seed)
    kept = made(sample, "kept", shortest=2)
    looked = _looked_up(sample)
    return [
        *rows_of("pairs", tempered(expected, _first_head(kept.model, sample)), arm="kept, best temperature"),
        *rows_of("pairs", tempered(expected, _first_head(last.model, sample)), arm="log P, last token"),
        *rows_of("pairs", plain(expected, _first_head(both.model, sample)), arm="log P, both tokens"),
        *rows_of("pairs", plain(unseen, _first_head(both.model, sample)), arm="log P, both tokens, unseen counts"),
        *rows_of("pairs", plain(unseen, looked), arm="looked up, unseen counts"),
        *rows_of("pairs", plain(expected, looked), arm="looked up"),
    ]


def _looked_up(sample: CountSample) -> list[np.ndarray]:
    """Logits out of the table of pairs at run time, without any matrix; a context that is new looks like no other."""
    table = sample.tables[2, 0]
    likelihood = affinity(LONG, table)
    found = []
    for tokens in sample.documents:
        rows = table.rows_of(tokens)
        logits = np.where((rows >= 0)[:, None], likelihood.at(np.maximum(rows, 0), tokens), 0.0)
        found.append(causal(logits))
    return found
