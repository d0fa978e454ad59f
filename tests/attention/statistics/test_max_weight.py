"""Largest weight: 1/n where uniform, 1 where one-hot, 1/2 for two equal keys."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, first_key, halves, nothing_seen, previous_token, uniform

from heedful.attention.statistics.max_weight import max_weight


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows(length: int) -> None:
    torch.testing.assert_close(max_weight(uniform(length))[0, 0], 1 / torch.arange(1, length + 1).float())


@pytest.mark.parametrize("length", LENGTHS)
def test_one_hot_rows(length: int) -> None:
    torch.testing.assert_close(max_weight(previous_token(length)), torch.ones(1, 1, length))
    torch.testing.assert_close(max_weight(first_key(length)), torch.ones(1, 1, length))


def test_two_equal_keys() -> None:
    torch.testing.assert_close(max_weight(halves(40)), torch.full((1, 1, 40), 0.5))


def test_undefined_without_keys() -> None:
    assert max_weight(nothing_seen(5)).isnan().all()
