"""Sequences in batches of at least two."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.planted import AttentionOnly, random_ids, sequences_of
from tests.evaluation.material import tiny_gpt2
from torch import nn

from heedful.errors import ResourceLimit
from heedful.evaluation.batches import FILLED, batch_bytes, batch_of, batches_of, leading, tokens_at_once

MODEL = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("count", "length", "sizes"),
    [(10, 8, [4, 4, 2]), (9, 8, [4, 5]), (5, 100, [2, 3]), (1, 8, [1]), (2, 8, [2]), (4, 8, [4])],
)
def test_no_sequence_is_left_alone(count: int, length: int, sizes: list[int]) -> None:
    ids = random_ids(count, length)
    batches = batches_of(MODEL, sequences_of(ids), tokens=32)
    assert [len(batch.index) for batch in batches] == sizes
    assert torch.equal(torch.cat([batch.input_ids for batch in batches]), ids)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(count))


def test_a_batch_holds_every_mark_of_its_sequences() -> None:
    sequences = sequences_of(random_ids(6, 8))
    batch = batch_of(sequences, torch.tensor([4, 1]), torch.device("cpu"))
    assert torch.equal(batch.punctuation, sequences.punctuation[[4, 1]])
    assert torch.equal(batch.special, sequences.special[[4, 1]])
    assert torch.equal(batch.attention_mask, sequences.attention_mask[[4, 1]])


@pytest.mark.parametrize(("count", "taken"), [(1, 1), (4, 1), (5, 2), (99, 3)])
def test_leading_batches_are_whole(count: int, taken: int) -> None:
    batches = batches_of(MODEL, sequences_of(random_ids(10, 8)), tokens=32)
    assert leading(batches, count) == batches[:taken]


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


@pytest.mark.parametrize(
    ("device", "free", "tokens"),
    [
        ("cpu", 2**40, 64),  # main memory is shared with others, and a processor is busy with a small batch already
        ("cuda:0", 2**20, 64),  # never less than asked for
        ("cuda:0", 2**40, 256),  # the whole text
    ],
)
def test_a_gpu_is_filled_and_other_devices_take_what_is_asked(
    device: str, free: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heedful.evaluation.batches.device_of", lambda model: torch.device(device))
    monkeypatch.setattr("heedful.evaluation.batches.available_bytes", lambda device: free)
    assert tokens_at_once(tiny_gpt2(), (16, 16), 64) == tokens


def test_a_batch_fills_at_most_its_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model, free = tiny_gpt2(), 2**30
    monkeypatch.setattr("heedful.evaluation.batches.device_of", lambda model: torch.device("cuda"))
    monkeypatch.setattr("heedful.evaluation.batches.available_bytes", lambda device: free)
    tokens = tokens_at_once(model, (10**6, 64), 128)
    assert batch_bytes(model, tokens // 64, 64) <= FILLED * free < batch_bytes(model, 2 * tokens // 64, 64)
