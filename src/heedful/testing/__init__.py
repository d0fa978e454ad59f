"""Assertions for the tests of your own model: each raises AssertionError with one sentence and its numbers.

An assertion that cannot be judged (too few documents, no loss, no row that sees enough keys) does not pass: it raises
and says so. The model's weights, flags, hooks and random state are as before afterwards.
"""

from heedful.testing.batches import as_sequences
from heedful.testing.collapse import assert_not_collapsed
from heedful.testing.integrity import (
    assert_capture_matches,
    assert_causal,
    assert_finite,
    assert_gradients_reach_attention,
    assert_rows_sum_to_one,
)
from heedful.testing.use import assert_attention_used

__all__ = [
    "as_sequences",
    "assert_attention_used",
    "assert_capture_matches",
    "assert_causal",
    "assert_finite",
    "assert_gradients_reach_attention",
    "assert_not_collapsed",
    "assert_rows_sum_to_one",
]
