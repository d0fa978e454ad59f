"""Memory of a batch, estimated beforehand."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.planted import AttentionOnly, random_ids, sequences_of
from tests.evaluation.material import tiny_gpt2

from heedful.errors import ResourceLimit
from heedful.evaluation.batches import batches_of
from heedful.evaluation.memory_estimate import batch_bytes


def test_the_price_grows_with_sequences_tokens_and_layers() -> None:
    small = batch_bytes(tiny_gpt2(), 2, 64)
    assert batch_bytes(tiny_gpt2(), 4, 64) > small
    assert batch_bytes(tiny_gpt2(), 2, 128) > small
    assert batch_bytes(tiny_gpt2(layers=4), 2, 64) > small
    assert batch_bytes(AttentionOnly(), 2, 64) > 4 * 2 * 64 * 64


def test_a_batch_that_would_not_fit_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedful.evaluation.batches.batch_bytes", lambda *_: 2**60)
    with pytest.raises(ResourceLimit, match="lower --seq-len"):
        batches_of(AttentionOnly(), sequences_of(random_ids(4, 16)), 64)
