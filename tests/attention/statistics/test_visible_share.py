"""Share of the visible keys: 1 where uniform, 1/n where one-hot, 2/n for two equal keys."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, halves, nothing_seen, previous_token, uniform

from heedful.attention.statistics.concentration import concentration
from heedful.attention.statistics.visible_share import visible_share


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows(length: int) -> None:
    torch.testing.assert_close(visible_share(uniform(length)), torch.ones(1, 1, length), rtol=5e-6, atol=0)


@pytest.mark.parametrize("length", LENGTHS)
def test_one_hot_rows(length: int) -> None:
    torch.testing.assert_close(visible_share(previous_token(length))[0, 0], 1 / torch.arange(1, length + 1).float())


def test_two_of_n() -> None:
    torch.testing.assert_close(visible_share(halves(40)), torch.full((1, 1, 40), 2 / 40))


def test_minus_its_log_is_the_concentration() -> None:
    rows = halves(64)
    torch.testing.assert_close(-visible_share(rows).log(), concentration(rows))


def test_undefined_without_keys() -> None:
    assert visible_share(nothing_seen(5)).isnan().all()
