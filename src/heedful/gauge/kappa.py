r"""Temperatures kappa of the heads: attention logits are ``-KL / kappa``.

Weights are :math:`\operatorname{softmax}_j(-KL_{ij} / \kappa_h)`. With means of variance :math:`s^2` a component,
divergences have the mean :math:`s^2 d` and the deviation :math:`s^2 \sqrt{2 d}`: one temperature for heads of different
dimension makes the smaller ones flatter, by arithmetic alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heedful.errors import UsageError

KAPPA_RULES = ("shared", "sqrt", "dim", "calibrated", "learned")

_WIDEST = 60.0
"""Temperatures are sought within ``exp(60)`` of the divergences' own size."""


def check_kappa(rule: str, kappa: float) -> None:
    """Raise an error for an unknown rule or a temperature of 0 or less.

    Raises:
        UsageError: Either of them.
    """
    if rule not in KAPPA_RULES:
        raise UsageError(f"kappa rule {rule!r}: expected one of {', '.join(KAPPA_RULES)}")
    if not (isinstance(kappa, int | float) and math.isfinite(kappa) and kappa > 0):
        raise UsageError(f"kappa {kappa!r}: expected a number above 0")


def first_kappa(rule: str, kappa: float, dims: Sequence[int]) -> tuple[float, ...]:
    r"""Return the initial temperature of each head.

    ``shared`` and ``learned`` :math:`\kappa`; ``sqrt`` :math:`\kappa \sqrt d`, which makes the deviations of the logits
    alike; ``dim`` and, until its first batch, ``calibrated`` :math:`\kappa d`, which makes their means alike.

    Args:
        rule: One of ``KAPPA_RULES``.
        kappa: The temperature, above 0.
        dims: Dimensions of each head.

    Raises:
        UsageError: The rule does not exist, or the temperature is not above 0.
    """
    check_kappa(rule, kappa)
    power = {"shared": 0.0, "learned": 0.0, "sqrt": 0.5, "dim": 1.0, "calibrated": 1.0}[rule]
    return tuple(kappa * dim**power for dim in dims)


def kappa_for(divergences: Tensor, visible: Tensor, target: float) -> Tensor:
    r"""Return the temperature of each head that gives the concentration ``target``, ``(head,)``.

    .. math:: \text{find } \kappa_h \text{ with } \operatorname{mean}_i (\log n_i - H_i) = D

    The left side falls as :math:`\kappa` grows, so that it is bisected.

    Args:
        divergences: ``(head, row, key)``, of sampled rows.
        visible: ``(row, key)``, whether a row sees a key.
        target: ``D`` in nats, above 0.

    Returns:
        ``(head,)``; NaN for a head whose rows see equal divergences alone, or cannot be as concentrated as that.

    Raises:
        UsageError: The target is not above 0.
    """
    if not target > 0:
        raise UsageError(f"target concentration {target!r}: expected nats above 0")
    wide = divergences.double().masked_fill(~visible, math.inf)
    gaps = wide - wide.amin(-1, keepdim=True)
    seen = gaps.masked_fill(~visible, 0.0)
    size = seen.amax((-1, -2)).clamp_min(torch.finfo(torch.float64).tiny)
    low, high = torch.full_like(size, -_WIDEST), torch.full_like(size, _WIDEST)
    for _ in range(60):
        middle = (low + high) / 2
        sharp = _concentration(gaps, seen, visible, size * middle.exp()) > target
        low, high = torch.where(sharp, middle, low), torch.where(sharp, high, middle)
    kappa = size * ((low + high) / 2).exp()
    reached = _concentration(gaps, seen, visible, kappa)
    return torch.where((reached - target).abs() < 1e-3 * max(target, 1.0), kappa, math.nan)


def _concentration(gaps: Tensor, seen: Tensor, visible: Tensor, kappa: Tensor) -> Tensor:
    """Mean over rows of ``log n - H``, ``(head,)``."""
    scale = kappa[:, None, None]
    masses = (-gaps / scale).exp()
    total = masses.sum(-1)
    entropy = total.log() + (masses * seen / scale).sum(-1) / total
    return (visible.sum(-1).double().log() - entropy).mean(-1)
