"""Weight within five positions: min(n, 6)/n where uniform, 1 for a previous-token head, 0 for a distant first key."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, first_key, nothing_seen, previous_token, rows_of, uniform

from heedful.attention.statistics.local_mass import local_mass
from heedful.attention.visibility import bidirectional


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_causal_rows(length: int) -> None:
    seen = torch.arange(1, length + 1).float()
    torch.testing.assert_close(local_mass(uniform(length))[0, 0], seen.clamp_max(6) / seen)


def test_uniform_rows_on_both_sides() -> None:
    found = local_mass(rows_of(torch.ones(40, 40), bidirectional()))[0, 0]
    torch.testing.assert_close(found[5:-5], torch.full((30,), 11 / 40))
    torch.testing.assert_close(found[[0, -1]], torch.full((2,), 6 / 40))


@pytest.mark.parametrize("length", LENGTHS)
def test_previous_token_head(length: int) -> None:
    torch.testing.assert_close(local_mass(previous_token(length)), torch.ones(1, 1, length))


def test_first_key_head() -> None:
    found = local_mass(first_key(40))[0, 0]
    torch.testing.assert_close(found, (torch.arange(40) <= 5).float())


def test_undefined_without_keys_or_a_diagonal() -> None:
    assert local_mass(nothing_seen(5)).isnan().all()
    assert local_mass(rows_of(torch.ones(4, 7), bidirectional())).isnan().all()
