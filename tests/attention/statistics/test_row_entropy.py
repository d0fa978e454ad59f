"""Entropy: uniform rows give log n, one-hot rows 0, two equal keys log 2."""

import math

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, halves, nothing_seen, previous_token, uniform

from heedful.attention.statistics.row_entropy import row_entropy


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows_give_log_n(length: int) -> None:
    torch.testing.assert_close(row_entropy(uniform(length))[0, 0], torch.arange(1, length + 1).float().log())


@pytest.mark.parametrize("length", LENGTHS)
def test_one_hot_rows_give_nothing(length: int) -> None:
    torch.testing.assert_close(row_entropy(previous_token(length)), torch.zeros(1, 1, length))


def test_two_equal_keys_give_log_two() -> None:
    torch.testing.assert_close(row_entropy(halves(40)), torch.full((1, 1, 40), math.log(2)))


def test_undefined_without_keys() -> None:
    assert row_entropy(nothing_seen(5)).isnan().all()
