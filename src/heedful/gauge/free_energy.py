r"""The free energy of a token given the tokens it attends to, and a gradient step that lowers it.

.. math:: F_i = -\kappa \log \sum_j e^{-KL(q_i \| q_j) / \kappa} + \alpha \, KL(q_i \,\|\, p_i)
          = \min_\beta \sum_j \beta_{ij} (KL_{ij} + \kappa \log \beta_{ij}) + \alpha \, KL(q_i \,\|\, p_i)

up to a constant. Since the weights are those of the minimum, its gradient is
:math:`\sum_j \beta_{ij} \nabla KL_{ij}` and no term of :math:`\nabla \beta` remains. A divergence is linear in its
key's features, so that the gradient needs their mean :math:`\sum_j \beta_{ij} g_j` alone: one attention whose values
are its keys. The beliefs that are met stand still: a gradient through them would tell tokens of their future.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from heedful.gauge.beliefs import Gaussians

MOST_DEVIATIONS = 2.0
"""Longest step of a mean, in its own standard deviations."""

MOST_LOG = 0.2
"""Largest step of a log-variance."""


def lowered(belief: Gaussians, attended: Tensor, prior: Gaussians, weight: float, rate: Tensor) -> Gaussians:
    r"""Return beliefs after one natural-gradient step that lowers their free energy.

    :math:`\Delta m = -\eta \, C \nabla_m F` and :math:`\Delta \log c = -2 \eta \nabla_{\log c} F`, each bounded.

    Args:
        belief: ``(..., dim)``.
        attended: Mean key features under the weights, ``(..., feature)``.
        prior: ``(..., dim)``.
        weight: ``alpha``, from 0 on.
        rate: ``eta``, one number.

    Returns:
        The same form of beliefs.
    """
    mean, spread = belief.slopes(attended)
    if weight:
        mean_home, spread_home = belief.slopes(prior.keys())
        mean, spread = mean + weight * mean_home, spread + weight * spread_home
    step = rate * mean
    deviations = (step.square() * (-belief.log_variance).exp()).sum(-1, keepdim=True).add(1e-12).sqrt()
    step = step * (MOST_DEVIATIONS / deviations).clamp_max(1.0)
    change = MOST_LOG * torch.tanh(rate * spread / MOST_LOG)
    return replace(belief, mean=belief.mean - step, log_variance=belief.log_variance - change)
