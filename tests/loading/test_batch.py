"""A batch on another device."""

from __future__ import annotations

import torch

from heedful.loading.batch import Batch

BATCH = Batch(
    torch.ones(2, 3, dtype=torch.int64),
    torch.ones(2, 3, dtype=torch.int64),
    torch.arange(2),
    torch.zeros(2, 3, dtype=torch.bool),
    torch.zeros(2, 3, dtype=torch.bool),
)


def test_a_batch_on_its_own_device_is_itself() -> None:
    assert BATCH.at(torch.device("cpu")) is BATCH


def test_tokens_and_marks_move_and_the_index_stays() -> None:
    moved = BATCH.at(torch.device("meta"))
    devices = [tensor.device.type for tensor in (moved.input_ids, moved.attention_mask, moved.special)]
    assert devices == ["meta"] * 3 and moved.punctuation.is_meta and moved.index is BATCH.index
