"""Weight one key back: 1 for a previous-token head, 1/n where uniform, 0 on the diagonal."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, nothing_seen, own_key, previous_token, rows_of, uniform

from heedful.attention.statistics.previous_mass import previous_mass
from heedful.attention.visibility import bidirectional, causal


@pytest.mark.parametrize("length", LENGTHS)
def test_previous_token_head(length: int) -> None:
    found = previous_mass(previous_token(length))
    torch.testing.assert_close(found[..., 1:], torch.ones(1, 1, length - 1))
    assert found[..., 0].isnan().all()


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows(length: int) -> None:
    torch.testing.assert_close(previous_mass(uniform(length))[0, 0, 1:], 1 / torch.arange(2, length + 1).float())


def test_diagonal() -> None:
    torch.testing.assert_close(previous_mass(own_key(30))[..., 1:], torch.zeros(1, 1, 29))


def test_undefined_where_that_key_is_not_seen() -> None:
    assert previous_mass(rows_of(torch.ones(6, 6), causal(window=1))).isnan().all()
    assert previous_mass(rows_of(torch.ones(4, 7), bidirectional())).isnan().all()
    assert previous_mass(nothing_seen(5)).isnan().all()
