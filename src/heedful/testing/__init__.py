"""Assertions for your own model tests; each raises AssertionError with one sentence and its numbers.

An assertion that cannot be judged (too few documents, no loss, no row that sees enough keys) does not pass: it raises
and says why. The model's weights, flags, hooks and random state are as before afterwards.
"""

from typing import TYPE_CHECKING

from heedful.lazy import loader

if TYPE_CHECKING:
    from heedful.loading.given_sequences import as_sequences
    from heedful.testing.contract import (
        assert_attends_both_ways,
        assert_contract,
        assert_documents_isolated,
        assert_grouped_heads,
        assert_padding_unseen,
        assert_rotary,
        assert_scale,
        assert_window,
    )
    from heedful.testing.integrity import (
        assert_attention_used,
        assert_capture_matches,
        assert_causal,
        assert_finite,
        assert_gradients_reach_attention,
        assert_not_collapsed,
        assert_rows_sum_to_one,
    )

_HOMES = {
    "heedful.loading.given_sequences": ("as_sequences",),
    "heedful.testing.integrity": (
        "assert_attention_used",
        "assert_capture_matches",
        "assert_causal",
        "assert_finite",
        "assert_gradients_reach_attention",
        "assert_not_collapsed",
        "assert_rows_sum_to_one",
    ),
    "heedful.testing.contract": (
        "assert_attends_both_ways",
        "assert_contract",
        "assert_documents_isolated",
        "assert_grouped_heads",
        "assert_padding_unseen",
        "assert_rotary",
        "assert_scale",
        "assert_window",
    ),
}

__all__ = [
    "as_sequences",
    "assert_attends_both_ways",
    "assert_attention_used",
    "assert_capture_matches",
    "assert_causal",
    "assert_contract",
    "assert_documents_isolated",
    "assert_finite",
    "assert_gradients_reach_attention",
    "assert_grouped_heads",
    "assert_not_collapsed",
    "assert_padding_unseen",
    "assert_rotary",
    "assert_rows_sum_to_one",
    "assert_scale",
    "assert_window",
]

__getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
