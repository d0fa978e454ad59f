"""The step down the free energy is that of autograd through the pairwise oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.gauge.drawn import beliefs
from tests.oracles.gauge_pairs import free_energies, pair_divergences, weights
from torch import Tensor

from heedful.gauge.beliefs import COVARIANCES, Gaussians, divergences
from heedful.gauge.model.gauge_feed_forward import lowered

KAPPA, PULL = 1.7, 0.6
VISIBLE = torch.ones(7, 7, dtype=torch.bool).tril()
CASES = pytest.mark.parametrize(("covariance", "order"), [(c, order) for c in COVARIANCES for order in (0, 1, 2)])


def energy(belief: Gaussians, others: Gaussians, prior: Gaussians) -> Tensor:
    """The free energy of each, the beliefs it meets held still, by the oracle alone."""
    count, dim = belief.mean.shape
    apart = torch.stack(
        [
            pair_divergences(
                torch.cat([belief.mean[i : i + 1], others.mean, prior.mean[i : i + 1]]),
                torch.cat([belief.covariance()[i : i + 1], others.covariance(), prior.covariance()[i : i + 1]]),
                torch.eye(dim).double().expand(count + 2, dim, dim),
            )[0, 1:]
            for i in range(count)
        ]
    )
    return free_energies(apart[:, :-1], KAPPA, VISIBLE) + PULL * apart[:, -1]


def step(belief: Gaussians, others: Gaussians, prior: Gaussians, rate: float) -> Gaussians:
    beta = weights(divergences(belief, others), KAPPA, VISIBLE)
    return lowered(belief, beta @ others.keys(), prior, PULL, torch.tensor(rate).double())


@CASES
def test_the_step_is_the_natural_gradient_of_autograd(covariance: str, order: int) -> None:
    belief, others, prior = (beliefs(covariance, order, seed=seed) for seed in (1, 2, 3))
    leaf = replace(belief, mean=belief.mean.requires_grad_(), log_variance=belief.log_variance.requires_grad_())
    mean, spread = torch.autograd.grad(energy(leaf, others, prior).sum(), [leaf.mean, leaf.log_variance])
    rate = 1e-7
    after = step(belief, others, prior, rate)
    natural = (belief.covariance() @ mean[..., None])[..., 0]
    fisher = 2 / (belief.mean.shape[-1] if covariance == "isotropic" else 1)
    torch.testing.assert_close((belief.mean - after.mean) / rate, natural, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((belief.log_variance - after.log_variance) / rate, fisher * spread, rtol=1e-5, atol=1e-5)


@CASES
def test_a_short_step_lowers_every_free_energy_and_a_long_one_is_bounded(covariance: str, order: int) -> None:
    belief, others, prior = (beliefs(covariance, order, seed=seed) for seed in (1, 2, 3))
    before = energy(belief, others, prior)
    assert bool((energy(step(belief, others, prior, 1e-3), others, prior) < before).all())
    after = step(belief, others, prior, 1e6)
    assert ((after.mean - belief.mean).square() / belief.log_variance.exp()).sum(-1).sqrt().max() < 2 + 1e-6
    assert (after.log_variance - belief.log_variance).abs().max() <= 0.2 + 1e-9


def test_a_belief_at_its_prior_among_its_likes_stays() -> None:
    belief = beliefs("diagonal", 1)
    alike = replace(belief, mean=belief.mean[:1].expand(7, -1), log_variance=belief.log_variance[:1].expand(7, -1))
    after = step(alike, alike, alike, 0.5)
    torch.testing.assert_close(after.mean, alike.mean)
    torch.testing.assert_close(after.log_variance, alike.log_variance)
