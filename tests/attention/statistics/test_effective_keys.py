"""Effective keys: n where uniform, 1 where one-hot, 2 for two equal keys."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, halves, nothing_seen, previous_token, uniform

from heedful.attention.statistics.effective_keys import effective_keys


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows_have_n(length: int) -> None:
    expected = torch.arange(1, length + 1).float()
    # The exponential of an entropy of up to 7 nats: its rounding of 7 * 2**-24 is relative here.
    torch.testing.assert_close(effective_keys(uniform(length))[0, 0], expected, rtol=5e-6, atol=0)


@pytest.mark.parametrize("length", LENGTHS)
def test_one_hot_rows_have_one(length: int) -> None:
    torch.testing.assert_close(effective_keys(previous_token(length)), torch.ones(1, 1, length))


def test_two_equal_keys() -> None:
    torch.testing.assert_close(effective_keys(halves(40)), torch.full((1, 1, 40), 2.0))


def test_undefined_without_keys() -> None:
    assert effective_keys(nothing_seen(5)).isnan().all()
