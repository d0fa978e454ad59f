"""Divergences by features: the pairwise oracle's, and the laws of a gauge theory."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from tests.gauge.drawn import ORDERS, angles, beliefs
from tests.oracles.gauge_pairs import pair_divergences
from torch import Tensor

from heedful.errors import UsageError
from heedful.gauge.beliefs import COVARIANCES, Full, Gaussians, divergences, gaussians, log_of_variance, own_divergence
from heedful.gauge.frames import frames

CASES = pytest.mark.parametrize(
    ("covariance", "order"), [(covariance, order) for covariance in (*COVARIANCES, "framed") for order in ORDERS]
)


def own_frame(belief: Gaussians, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance as each token's frame sees them."""
    return (frame @ belief.mean[..., None])[..., 0], frame @ belief.covariance() @ frame.mT


@CASES
def test_features_give_the_divergences_of_transported_pairs(covariance: str, order: int) -> None:
    belief, frame = beliefs(covariance, order), frames(angles(7), order)
    exact = pair_divergences(*own_frame(belief, frame), frame)
    found = divergences(belief, belief)
    assert exact.median() > 0.5
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)
    assert found.diagonal().abs().max() < 1e-10 and found.min() > -1e-10
    wrong = divergences(belief, replace(belief, mean=belief.mean + 0.01))
    assert (wrong - exact).abs().max() > 1e-4


@CASES
def test_a_rotation_of_all_changes_no_divergence(covariance: str, order: int) -> None:
    """mu -> h mu, Sigma -> h Sigma h^T for all tokens, frames as they are or turned with them from either side."""
    belief, frame = beliefs(covariance, order), frames(angles(7), order)
    mean, spread = own_frame(belief, frame)
    plain = pair_divergences(mean, spread, frame)
    turn = frames(torch.tensor([0.7, -1.1, 0.4]).double(), order)
    turned = (turn @ mean[..., None])[..., 0], turn @ spread @ turn.mT
    torch.testing.assert_close(pair_divergences(*turned, turn @ frame), plain, rtol=1e-9, atol=1e-9)
    common = Full.of((turn @ belief.mean[..., None])[..., 0], turn @ belief.covariance() @ turn.mT)
    torch.testing.assert_close(divergences(common, common), plain, rtol=1e-9, atol=1e-9)
    if order:  # means alone turned is another thing
        lame = Full.of((turn @ belief.mean[..., None])[..., 0], belief.covariance())
        assert covariance == "isotropic" or (divergences(lame, lame) - plain).abs().max() > 1e-3


@CASES
def test_a_change_of_gauge_changes_no_divergence(covariance: str, order: int) -> None:
    """Each token in another frame of its own: what it is in the common frame stays."""
    belief, frame = beliefs(covariance, order), frames(angles(7), order)
    other = frames(angles(7, seed=9).flip(0), order) @ frame
    mean, spread = own_frame(belief, other)
    torch.testing.assert_close(pair_divergences(mean, spread, other), divergences(belief, belief), rtol=1e-9, atol=1e-9)


@CASES
def test_rounding_in_float32_is_within_its_bound(covariance: str, order: int) -> None:
    """A sum of F products is off by at most F eps times the sum of their sizes; each feature by a few of its own."""
    exact = beliefs(covariance, order, count=40)
    near = replace(exact, **{field.name: getattr(exact, field.name).float() for field in fields(exact)})
    sizes = exact.queries().abs() @ exact.keys().abs().mT
    bound = (exact.queries().shape[-1] + 8) * torch.finfo(torch.float32).eps * (sizes + 20)
    wrong = (divergences(near, near).double() - divergences(exact, exact)).abs()
    assert bool((wrong <= bound).all())
    assert wrong.max() > 0


def test_a_shared_mean_costs_digits_until_it_is_taken_away() -> None:
    exact = beliefs("diagonal", 2, count=40)
    far = replace(exact, mean=exact.mean + 300, log_variance=exact.log_variance)
    near = replace(far, mean=far.mean.float(), log_variance=far.log_variance.float())
    centred = replace(near, mean=near.mean - near.mean[:1])
    truth = divergences(exact, exact)
    plain, better = ((divergences(one, one).double() - truth).abs().max() for one in (near, centred))
    assert plain > 0.1 and better < 5e-3


@CASES
def test_the_mean_over_keys_needs_their_mean_features_alone(covariance: str, order: int) -> None:
    belief = beliefs(covariance, order)
    weights = torch.softmax(torch.randn(7, 7, generator=torch.Generator().manual_seed(3)).double(), dim=-1)
    found = own_divergence(belief, weights @ belief.keys())
    torch.testing.assert_close(found, (weights * divergences(belief, belief)).sum(-1), rtol=1e-9, atol=1e-9)


def test_a_covariance_matrix_gives_itself_again() -> None:
    belief = beliefs("full", 2)
    assert isinstance(belief, Full)
    again = Full.of(belief.mean, belief.covariance())
    torch.testing.assert_close(again.covariance(), belief.covariance())
    torch.testing.assert_close(again.precision() @ again.covariance(), torch.eye(5).double().expand(7, 5, 5))
    torch.testing.assert_close(again.log_volume, torch.logdet(belief.covariance()))


def test_variances_that_are_none_are_refused() -> None:
    torch.testing.assert_close(log_of_variance(torch.tensor([1.0, 2.0])), torch.tensor([0.0, 0.6931472]))
    for wrong in (0.0, -0.5):
        with pytest.raises(UsageError, match=f"variance: expected numbers above 0, got {wrong:.4g}"):
            log_of_variance(torch.tensor([1.0, wrong]))
    with pytest.raises(UsageError, match="covariance: expected positive definite"):
        Full.of(torch.zeros(1, 2), torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]))
    with pytest.raises(UsageError, match="covariance 'round': expected one of isotropic, diagonal, full"):
        gaussians("round", torch.zeros(1, 1), torch.zeros(1, 1))
