"""Nats from uniform: 0 where uniform, log n where one-hot, half the variance of Gaussian logits."""

import math

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, halves, nothing_seen, previous_token, uniform

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense
from heedful.attention.engines.tiled import tiled
from heedful.attention.statistics.concentration import concentration
from heedful.attention.visibility import bidirectional


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_rows_are_at_no_distance_at_any_length(length: int) -> None:
    torch.testing.assert_close(concentration(uniform(length)), torch.zeros(1, 1, length), rtol=0, atol=2e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_one_hot_rows_are_log_n_away(length: int) -> None:
    expected = torch.arange(1, length + 1).float().log()
    torch.testing.assert_close(concentration(previous_token(length))[0, 0], expected)


def test_two_of_n() -> None:
    torch.testing.assert_close(concentration(halves(64)), torch.full((1, 1, 64), math.log(64 / 2)))


@pytest.mark.parametrize("spread", [0.25, 0.5, 1.0])
def test_gaussian_logits_give_half_their_variance(spread: float) -> None:
    length = 1024
    generator = torch.Generator().manual_seed(1)
    bias = spread * torch.randn(length, length, generator=generator)
    zero = torch.zeros(1, 1, length, 1)
    rows = tiled(AttentionCall(query=zero, key=zero, bias=bias, visibility=bidirectional())).rows
    # The mean over 1024 rows; the bias of a finite row is below 1 % here (statistics.md 3.1: .495 for 1.0).
    assert float(concentration(rows).mean()) == pytest.approx(spread**2 / 2, rel=0.02)


def test_never_negative_and_undefined_without_keys() -> None:
    assert (concentration(uniform(333)) >= 0).all()
    assert concentration(nothing_seen(5)).isnan().all()


def test_weight_that_a_learned_sink_takes_does_not_make_a_head_sharp() -> None:
    """Zero queries are uniform over the keys, however much of the weight the sink holds."""
    call = AttentionCall(query=torch.zeros(1, 1, 24, 4), key=torch.randn(1, 1, 24, 4), sink=torch.tensor([5.0]))
    for engine in (dense, tiled):
        rows = engine(call).rows
        assert float(rows.total.max()) < 0.2
        assert float(concentration(rows).abs().max()) < 1e-5
