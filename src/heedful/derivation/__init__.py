"""Attention weights from n-gram counts: affinities, factors, embeddings, encoders, and the attention counts predict."""

from heedful.derivation.affinity import AFFINITIES, Affinity, affinity, stacked
from heedful.derivation.alignment import RowAlignment, row_alignment
from heedful.derivation.embedding import EMBEDDINGS, embedding, fingerprint
from heedful.derivation.encoder import ENCODERS, encoded, layer_normalised
from heedful.derivation.expected import expected_rows
from heedful.derivation.factors import FactorReport, Factors, factorised, frequency_weights
from heedful.derivation.table import Table
from heedful.derivation.temperature import best_temperature

__all__ = [
    "AFFINITIES",
    "EMBEDDINGS",
    "ENCODERS",
    "Affinity",
    "FactorReport",
    "Factors",
    "RowAlignment",
    "Table",
    "affinity",
    "best_temperature",
    "embedding",
    "encoded",
    "expected_rows",
    "factorised",
    "fingerprint",
    "frequency_weights",
    "layer_normalised",
    "row_alignment",
    "stacked",
]
