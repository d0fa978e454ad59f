"""Divergences of every pair of beliefs, each key carried into its query's frame: written from the definitions.

Nothing of heedful is imported; float64 throughout; (query, key, dim, dim) arrays are built.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence


def transported(mean: Tensor, covariance: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Means and covariances of key j as query i sees them.

    Args:
        mean: In each one's own frame, ``(token, dim)``.
        covariance: Likewise, ``(token, dim, dim)``.
        frame: ``(token, dim, dim)``.

    Returns:
        ``(query, key, dim)`` and ``(query, key, dim, dim)``.
    """
    omega = frame[:, None] @ torch.linalg.inv(frame)[None, :]
    return (omega @ mean[None, :, :, None])[..., 0], omega @ covariance[None] @ omega.mT


def pair_divergences(mean: Tensor, covariance: Tensor, frame: Tensor) -> Tensor:
    """``KL(q_i || Omega_ij q_j)``, ``(query, key)``."""
    means, covariances = transported(mean, covariance, frame)
    covariances = (covariances + covariances.mT) / 2
    queries = MultivariateNormal(mean[:, None], covariance[:, None])
    return kl_divergence(queries, MultivariateNormal(means, covariances))


def weights(divergences: Tensor, kappa: float, visible: Tensor) -> Tensor:
    """Softmax of ``-KL / kappa`` over visible keys, ``(query, key)``."""
    return torch.softmax((-divergences / kappa).masked_fill(~visible, -torch.inf), dim=-1)


def messages(beta: Tensor, mean: Tensor, covariance: Tensor, frame: Tensor) -> Tensor:
    """``sum_j beta_ij Omega_ij mu_j``, ``(query, dim)``."""
    return (beta[..., None] * transported(mean, covariance, frame)[0]).sum(1)


def free_energies(divergences: Tensor, kappa: float, visible: Tensor) -> Tensor:
    """Least of ``sum beta KL + kappa sum beta log beta`` over all weights, ``(query,)``, at the best of them."""
    beta = weights(divergences, kappa, visible)
    inside = torch.where(visible, beta * (divergences + kappa * beta.clamp_min(1e-300).log()), 0.0)
    return inside.sum(-1)
