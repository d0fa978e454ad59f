"""Beliefs of every form, drawn once, with angles up to pi."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.gauge.beliefs import Framed, Gaussians, gaussians
from heedful.gauge.frames import frames

ORDERS = range(7)


def angles(count: int, seed: int = 0) -> Tensor:
    """Directions at random; lengths from 0 to pi, both ends included."""
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(count, 3, generator=draw, dtype=torch.float64)
    return directions / directions.norm(dim=-1, keepdim=True) * torch.linspace(0, math.pi, count).double()[:, None]


def beliefs(covariance: str, order: int, count: int = 7, seed: int = 1) -> Gaussians:
    """Means of deviation 2, variances from .1 to 10, shears of .5; ``(count, dim)`` float64."""
    draw = torch.Generator().manual_seed(seed)
    dim = 2 * order + 1
    mean = 2 * torch.randn(count, dim, generator=draw, dtype=torch.float64)
    variances = 1 if covariance == "isotropic" else dim
    log_variance = torch.rand(count, variances, generator=draw, dtype=torch.float64) * 4.6 - 2.3
    shear = torch.randn(count, dim * (dim - 1) // 2, generator=draw, dtype=torch.float64) / 2
    if covariance == "framed":
        return Framed(mean, log_variance, frames(angles(count, seed=8), order).mT)
    return gaussians(covariance, mean, log_variance, shear)
