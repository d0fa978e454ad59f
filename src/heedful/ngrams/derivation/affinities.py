r"""Affinity matrices from counts: scores of key tokens (columns) for query contexts (rows).

None is held densely. ``log P`` of counts smoothed by a constant ``a`` has no zero entry, yet
``log((C + a) / (r + a V)) = log(1 + C / a) + log(a / (r + a V))``: a sparse matrix and one of rank one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag
from scipy.sparse.linalg import LinearOperator

from heedful.errors import UsageError
from heedful.ngrams.derivation.table import NgramTable

PSEUDO_COUNT = 1.0
BACKOFF_COUNT = 1.0

ROUNDING = 1e-12
"""Information under which a pair is as frequent as its parts: what is left is rounding."""

ENTRIES = 1 << 20
"""Numbers of the low-rank part that are held at once beside stored entries."""


@dataclass(frozen=True)
class Affinity:
    """Matrix ``sparse + left @ right.T``, contexts by tokens.

    Attributes:
        stored: ``(context, vocabulary)``, sparse.
        left: ``(context, m)`` of the low-rank part; m is small.
        right: ``(vocabulary, m)``.
    """

    stored: sparse.csr_array
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, stored: sparse.csr_array, *products: tuple[np.ndarray, np.ndarray]) -> Affinity:
        """Create an affinity from a sparse matrix and outer products."""
        rows, columns = stored.shape
        left = np.stack([pair[0] for pair in products], axis=1) if products else np.zeros((rows, 0))
        right = np.stack([pair[1] for pair in products], axis=1) if products else np.zeros((columns, 0))
        return cls(sparse.csr_array(stored), left, right)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of contexts and of tokens."""
        return self.stored.shape

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the entries of some rows and columns, ``(row, column)``, as a dense block."""
        return self.stored[rows][:, columns].toarray() + self.left[rows] @ self.right[columns].T

    def weighed(self, row_weight: np.ndarray, column_weight: np.ndarray) -> Affinity:
        """Return the matrix with weighted rows and columns, ``diag(row_weight) A diag(column_weight)``."""
        stored = sparse.diags_array(row_weight) @ self.stored @ sparse.diags_array(column_weight)
        return Affinity(sparse.csr_array(stored), self.left * row_weight[:, None], self.right * column_weight[:, None])

    def operator(self, row_weight: np.ndarray, column_weight: np.ndarray) -> LinearOperator:
        """Return ``diag(row_weight) A diag(column_weight)`` as a scipy ``LinearOperator``."""
        backward = self.stored.T.tocsr()

        def forward(block: np.ndarray) -> np.ndarray:
            weighed = (column_weight * block.T).T
            return (row_weight * (self.stored @ weighed + self.left @ (self.right.T @ weighed)).T).T

        def adjoint(block: np.ndarray) -> np.ndarray:
            weighed = (row_weight * block.T).T
            return (column_weight * (backward @ weighed + self.right @ (self.left.T @ weighed)).T).T

        return LinearOperator(
            self.shape, matvec=forward, rmatvec=adjoint, matmat=forward, rmatmat=adjoint, dtype=np.float64
        )

    def squared_norm(self, row_weight: np.ndarray, column_weight: np.ndarray) -> float:
        """Return the squared Frobenius norm of the weighted matrix, without building it."""
        stored = sparse.coo_array(self.stored)
        total = 0.0
        step = max(1, ENTRIES // max(1, self.left.shape[1]))
        for start in range(0, stored.nnz, step):
            part = slice(start, start + step)
            row, column, data = stored.row[part], stored.col[part], stored.data[part]
            low = np.einsum("em,em->e", self.left[row], self.right[column])
            total += float((row_weight[row] ** 2 * column_weight[column] ** 2 * data * (data + 2 * low)).sum())
        left, right = self.left * row_weight[:, None], self.right * column_weight[:, None]
        return total + float(((left.T @ left) * (right.T @ right)).sum())

    def size(self, row_weight: np.ndarray, column_weight: np.ndarray) -> float:
        """Return a scale for rounding errors: the root of the summed squared norms of all weighted terms."""
        nothing = np.zeros((self.shape[0], 0)), np.zeros((self.shape[1], 0))
        sparse_part = Affinity(self.stored, *nothing).squared_norm(row_weight, column_weight)
        low_part = Affinity(sparse.csr_array(self.shape), self.left, self.right)
        return float(np.sqrt(sparse_part + max(0.0, low_part.squared_norm(row_weight, column_weight))))


def _scaled(table: NgramTable, row: np.ndarray, column: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array(row) @ table.counts @ sparse.diags_array(column))


def _inverse(values: np.ndarray) -> np.ndarray:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def _with_data(matrix: sparse.csr_array, data: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def normalised(table: NgramTable) -> Affinity:
    """Return ``C / sqrt(r c)``; its largest singular value is 1, and the singular vectors are the square roots of the
    marginals.
    """
    return Affinity.of(_scaled(table, np.sqrt(_inverse(table.row_sums)), np.sqrt(_inverse(table.column_sums))))


def degree_regularised(table: NgramTable) -> Affinity:
    """Return ``C / sqrt((r + t)(c + t))`` with the mean sum t, so that rare pairs give no singular values of 1."""
    row, column = table.row_sums, table.column_sums
    seen_rows, seen_columns = max(int((row > 0).sum()), 1), max(int((column > 0).sum()), 1)
    rows = 1 / np.sqrt(row + table.total / seen_rows)
    return Affinity.of(_scaled(table, rows, 1 / np.sqrt(column + table.total / seen_columns)))


def symmetrised(table: NgramTable) -> Affinity:
    """Return ``(M + M^T) / 2`` of the normalised matrix, for single-token contexts."""
    if table.length != 1:
        raise UsageError(f"affinity 'symmetrised' wants contexts of 1 token; these have {table.length}")
    stored = normalised(table).stored
    return Affinity.of(sparse.csr_array((stored + stored.T) / 2))


def residual(table: NgramTable) -> Affinity:
    """Return the normalised matrix without its first component, which holds only frequencies."""
    row, column = np.sqrt(table.row_sums / table.total), np.sqrt(table.column_sums / table.total)
    return Affinity.of(normalised(table).stored, (-row, column))


def probability(table: NgramTable) -> Affinity:
    """Return ``P(token | context)``, zero for unseen pairs."""
    return Affinity.of(_scaled(table, _inverse(table.row_sums), np.ones(table.vocabulary)))


def sqrt_probability(table: NgramTable) -> Affinity:
    """Return the square root of ``P(token | context)``."""
    return Affinity.of(probability(table).stored.sqrt())


def _smoothed(table: NgramTable) -> tuple[sparse.csr_array, np.ndarray]:
    rows = np.log(PSEUDO_COUNT) - np.log(table.row_sums + PSEUDO_COUNT * table.vocabulary)
    return _with_data(table.counts, np.log1p(table.counts.data / PSEUDO_COUNT)), rows


def log_probability(table: NgramTable) -> Affinity:
    """Return ``log P`` with add-one smoothing; its softmax over keys is the attention that counts predict."""
    stored, rows = _smoothed(table)
    return Affinity.of(stored, (rows, np.ones(table.vocabulary)))


def log_probability_backoff(table: NgramTable) -> Affinity:
    """Return ``log P`` with a Dirichlet prior: one count per context, spread by token frequency (MacKay and Peto
    1995).
    """
    unigram = (table.column_sums + 1) / (table.total + table.vocabulary)
    counts = table.counts
    stored = _with_data(counts, np.log1p(counts.data / (BACKOFF_COUNT * unigram[counts.indices])))
    rows = np.log(BACKOFF_COUNT) - np.log(table.row_sums + BACKOFF_COUNT)
    return Affinity.of(stored, (rows, np.ones(table.vocabulary)), (np.ones(len(rows)), np.log(unigram)))


def log_ratio(table: NgramTable) -> Affinity:
    """Return ``log(P(token | context) / P(token))`` with backoff, up to a constant per context, as a sparse matrix."""
    unigram = (table.column_sums + 1) / (table.total + table.vocabulary)
    data = np.log1p(table.counts.data / (BACKOFF_COUNT * unigram[table.counts.indices]))
    return Affinity.of(_with_data(table.counts, data))


def pmi(table: NgramTable) -> Affinity:
    """Return the pointwise mutual information of smoothed counts: ``log P`` minus the key token's log frequency."""
    stored, rows = _smoothed(table)
    unigram = (table.column_sums + 1) / (table.total + table.vocabulary)
    return Affinity.of(stored, (rows, np.ones(table.vocabulary)), (np.ones(len(rows)), -np.log(unigram)))


def ppmi(table: NgramTable) -> Affinity:
    """Return the positive pointwise mutual information, 0 for unseen pairs (Levy and Goldberg 2014)."""
    ratio = _scaled(table, _inverse(table.row_sums), _inverse(table.column_sums))
    information = np.log(ratio.data * table.total)
    stored = _with_data(ratio, np.where(information > ROUNDING, information, 0.0))
    stored.eliminate_zeros()
    return Affinity.of(stored)


AFFINITIES: dict[str, Callable[[NgramTable], Affinity]] = {
    function.__name__: function
    for function in (
        normalised,
        degree_regularised,
        symmetrised,
        residual,
        probability,
        sqrt_probability,
        pmi,
        ppmi,
        log_probability,
        log_probability_backoff,
        log_ratio,
    )
}
"""Affinities by name."""


def stacked(matrices: Sequence[Affinity]) -> Affinity:
    """Stack affinity matrices over the same tokens along the context axis, to shape ``(total number of contexts,
    vocabulary)``.
    """
    left = block_diag(*(matrix.left for matrix in matrices))
    right = np.concatenate([matrix.right for matrix in matrices], axis=1)
    return Affinity(sparse.csr_array(sparse.vstack([matrix.stored for matrix in matrices])), left, right)


def affinity(name: str, table: NgramTable) -> Affinity:
    """Return the affinity matrix of that name.

    Args:
        name: A key of ``AFFINITIES``.
        table: Counts.

    Raises:
        UsageError: The name is not known, or the matrix does not exist for these contexts.
    """
    if name not in AFFINITIES:
        raise UsageError(f"affinity {name!r} is not known; one of: {', '.join(AFFINITIES)}")
    return AFFINITIES[name](table)
