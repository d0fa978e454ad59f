"""Attention calls in, moments out: the only room that computes attention."""

from heedful.engine.binned import BinnedMap, binned_map
from heedful.engine.changed_keys import KeyChange, attended, key_change
from heedful.engine.dense import dense, dense_logits, dense_weights
from heedful.engine.fused import fused
from heedful.engine.groups import Groups
from heedful.engine.measure import ENGINES, measure
from heedful.engine.moments import Extras, KeyMoments, Moments, RowMoments
from heedful.engine.patterns import PATTERNS, pattern_output
from heedful.engine.points import block_at, logits_at, logits_of, rows_at, seen_at
from heedful.engine.tiled import tiled

__all__ = [
    "ENGINES",
    "PATTERNS",
    "BinnedMap",
    "Extras",
    "Groups",
    "KeyChange",
    "KeyMoments",
    "Moments",
    "RowMoments",
    "attended",
    "binned_map",
    "block_at",
    "dense",
    "dense_logits",
    "dense_weights",
    "fused",
    "key_change",
    "logits_at",
    "logits_of",
    "measure",
    "pattern_output",
    "rows_at",
    "seen_at",
    "tiled",
]
