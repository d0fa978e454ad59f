"""What is measured of a batch: evenly spaced positions, the first sequences, the largest component of everything."""

import pytest
import torch

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import causal
from heedful.errors import UsageError
from heedful.monitoring.vectors.vectors import Sample, first_sequences, sampled


def test_positions_are_evenly_spaced_and_move_on() -> None:
    sample = Sample(positions=4)
    assert sample.places(10, 0, torch.device("cpu")).tolist() == [0, 3, 6, 9]
    assert sample.places(10, 4, torch.device("cpu")).tolist() == [1, 4, 7]
    assert sample.places(4, 9, torch.device("cpu")).tolist() == [0, 1, 2, 3]


def test_the_largest_component_is_that_of_all_real_vectors() -> None:
    values = torch.zeros(3, 2, 10, 4)
    values[2, 0, 9, 1], values[1, 1, 3, 0] = -7.0, 5.0
    real = torch.ones(3, 10, dtype=torch.bool)
    vectors = sampled(values, real, Sample(sequences=1, positions=2), 0)
    assert vectors.largest.tolist() == [7.0, 5.0] and vectors.values.shape == (1, 2, 2, 4)
    real[2, 9] = False
    assert sampled(values, real, Sample(sequences=1, positions=2), 0).largest.tolist() == [0.0, 5.0]


def test_too_small_a_sample_is_refused() -> None:
    with pytest.raises(UsageError, match="positions: expected at least 2, got 1"):
        Sample(positions=1)


def test_first_sequences_of_a_call() -> None:
    query = torch.randn(3, 2, 5, 4)
    call = AttentionCall(query=query, key=query, visibility=causal(), bias=torch.zeros(3, 1, 5, 5))
    cut = first_sequences(call, 2)
    assert cut.batch == 2 and cut.bias is not None and len(cut.bias) == 2
    assert first_sequences(call, 3) is call
