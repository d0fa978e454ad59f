"""Weight on the own position: 1/n where uniform, 1 on the diagonal, 0 one key back."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, nothing_seen, own_key, previous_token, rows_of, uniform

from heedful.attention.statistics.self_mass import self_mass
from heedful.attention.visibility import bidirectional


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows(length: int) -> None:
    torch.testing.assert_close(self_mass(uniform(length))[0, 0], 1 / torch.arange(1, length + 1).float())


@pytest.mark.parametrize("length", LENGTHS)
def test_diagonal(length: int) -> None:
    torch.testing.assert_close(self_mass(own_key(length)), torch.ones(1, 1, length))


def test_previous_token_has_none_after_the_first() -> None:
    torch.testing.assert_close(self_mass(previous_token(30))[..., 1:], torch.zeros(1, 1, 29))


def test_undefined_without_keys_or_a_diagonal() -> None:
    assert self_mass(nothing_seen(5)).isnan().all()
    assert self_mass(rows_of(torch.ones(4, 7) / 7, bidirectional())).isnan().all()
