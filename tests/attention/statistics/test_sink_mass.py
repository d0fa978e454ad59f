"""Weight on the first key: 1 for a sink, 1/n where uniform, 0 for a previous-token head."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, first_key, nothing_seen, previous_token, rows_of, uniform

from heedful.attention.statistics.sink_mass import sink_mass
from heedful.attention.visibility import causal, padding


@pytest.mark.parametrize("length", LENGTHS)
def test_sink(length: int) -> None:
    torch.testing.assert_close(sink_mass(first_key(length)), torch.ones(1, 1, length))


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows(length: int) -> None:
    torch.testing.assert_close(sink_mass(uniform(length))[0, 0], 1 / torch.arange(1, length + 1).float())


def test_previous_token_head_reads_it_from_the_second_query_alone() -> None:
    torch.testing.assert_close(sink_mass(previous_token(30))[0, 0], (torch.arange(30) <= 1).float())


def test_the_first_key_is_the_first_that_is_shown() -> None:
    visibility = causal() & padding(torch.tensor([[0, 0, 0, 1, 1, 1, 1]]))
    found = sink_mass(rows_of(torch.ones(7, 7), visibility))[0, 0]
    torch.testing.assert_close(found[3:], 1 / torch.arange(1, 5).float())
    assert found[:3].isnan().all()


def test_undefined_without_keys() -> None:
    assert sink_mass(nothing_seen(5)).isnan().all()
