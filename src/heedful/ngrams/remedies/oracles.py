"""Attention without matrices: baselines, and logits taken directly from counts.

Compute attention directly from counts, without matrices: the upper limit for any queries and keys.

A head's logits are products of a query and a key, so that contexts of n tokens reach it as sums of what each token
says. What only their combination says is in the table of n-grams alone; no projection of tokens holds that table. Here
it is read while the text is, for any n: an upper bound for derived heads, and what a test can hold them against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import logsumexp

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import BACKOFF_COUNT, Affinity
from heedful.ngrams.derivation.row_alignment import expected_rows
from heedful.ngrams.derivation.table import NgramTable
from heedful.ngrams.remedies.variant import Material


def equal(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Return logits of 0, which give equal weights."""
    sequences, length = tokens.shape
    return np.zeros((sequences, length - 1, length))


def frequency(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Return the log frequency of each key's token, with add-one smoothing, as logits."""
    logs = np.log(material.first.column_sums + 1)[tokens]
    return np.repeat(logs[:, None, :], tokens.shape[1] - 1, axis=1)


def noise(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Return standard normal logits that depend on the excerpt's index, not its content."""
    sequences, length = tokens.shape
    return np.random.default_rng(seed).standard_normal((sequences, length - 1, length))


def counted(n: int) -> Callable[[Material, np.ndarray, int], np.ndarray]:
    """Return a function from tokens to log weights: those that counts of n-token contexts predict, mixed with shorter
    contexts.

    Args:
        n: Tokens of the contexts.
    """

    def logits(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
        tables = [material.tables[length, 0] for length in range(n, 0, -1)]
        rows = np.arange(1, tokens.shape[1])
        return np.stack([smoothed_oracle_log_weights(tables, piece, rows) for piece in tokens])

    return logits


def oracle_log_weights(
    tables: Sequence[NgramTable], tokens: np.ndarray, rows: np.ndarray, likelihoods: Sequence[Affinity] | None = None
) -> np.ndarray:
    """Return log attention weights ``(row, position)``, predicted for each row by its longest context that has an
    expectation.

    A row backs off whole: from contexts of n tokens to n - 1, and so on, and from single tokens to how frequent the
    keys' tokens are. Keys that never followed the context get no weight at all, so that on counts of another text the
    divergence is infinite; ``smoothed_oracle_log_weights`` is for those.

    Args:
        tables: Counts of one skip over one vocabulary, longest contexts first.
        tokens: ``(position,)`` token numbers of one document.
        rows: Queries asked for, ``(row,)``.
        likelihoods: ``probability`` of each table, where many blocks are asked for.

    Returns:
        ``(row, position)`` natural logs, -inf where there is no weight; every row sums to one.

    Raises:
        UsageError: There is no table, or their order, skips or vocabularies differ from what was asked.
    """
    _check(tables)
    weights = np.full((len(rows), len(tokens)), np.nan)
    for place, table in enumerate(tables):
        missing = np.isnan(weights).any(-1)
        if missing.any():
            likelihood = likelihoods[place] if likelihoods else None
            weights[missing] = expected_rows(table, tokens, rows[missing], likelihood)
    missing = np.isnan(weights).any(-1)
    known = np.where(_seen(tokens, rows[missing]), _frequency(tables[-1])[tokens], 0.0)
    weights[missing] = known / known.sum(-1, keepdims=True)
    return np.log(weights, out=np.full(weights.shape, -np.inf), where=weights > 0)


def smoothed_oracle_log_weights(tables: Sequence[NgramTable], tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
    r"""Return log attention weights ``(row, position)``; the probabilities of each context length are mixed with those
    of shorter ones.

    .. math:: P_n(b \mid a) = \frac{C_{ab} + \beta P_{n-1}(b \mid a')}{r_a + \beta}, \qquad \beta = 1

    ``a'`` is the context without its first token. With contexts of one token it is the softmax of
    ``log_probability_backoff``. Source: MacKay and Peto 1995.

    Args:
        tables: Counts of one skip over one vocabulary, longest contexts first.
        tokens: ``(position,)`` token numbers of one document.
        rows: Queries asked for, ``(row,)``.

    Returns:
        ``(row, position)`` natural logs, -inf behind the query alone.

    Raises:
        UsageError: There is no table, or their order, skips or vocabularies differ from what was asked.
    """
    _check(tables)
    likelihood = np.broadcast_to(_frequency(tables[-1])[tokens], (len(rows), len(tokens)))
    for table in reversed(tables):
        contexts = table.rows_of(tokens)[rows]
        known, at = (contexts >= 0)[:, None], np.maximum(contexts, 0)
        counts = np.where(known, table.counts[at][:, tokens].toarray(), 0.0)
        total = np.where(known, table.row_sums[at][:, None], 0.0)
        likelihood = (counts + BACKOFF_COUNT * likelihood) / (total + BACKOFF_COUNT)
    logs = np.where(_seen(tokens, rows), np.log(likelihood), -np.inf)
    return np.asarray(logs - logsumexp(logs, axis=-1, keepdims=True))


def _seen(tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.arange(len(tokens))[None, :] <= rows[:, None]


def _frequency(table: NgramTable) -> np.ndarray:
    """Probability of each token as the counted one, one count added to all."""
    return (table.column_sums + 1) / (table.total + table.vocabulary)


def _check(tables: Sequence[NgramTable]) -> None:
    lengths = [table.length for table in tables]
    if not lengths or sorted(set(lengths), reverse=True) != lengths:
        raise UsageError(f"an oracle wants tables of different contexts, longest first; came n = {lengths}")
    if len({(table.skip, table.vocabulary) for table in tables}) > 1:
        raise UsageError("an oracle wants tables of one skip and one vocabulary")
