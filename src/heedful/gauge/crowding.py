r"""Theory of how strongly attention between Gaussian beliefs can concentrate, given the head's dimension and
temperature.

Means are normal with variance :math:`s^2` a component and covariances are one, so that
:math:`KL_{ij} = \tfrac12 |m_i - m_j|^2`. With :math:`b = s^2 / \kappa`, the sum over many keys is its expectation:

.. math:: D = \log n - H = \frac d2 \left[ \log(1 + b) - \frac{b}{1 + b} + \frac{b^2}{(1 + b)^2} \right]

averaged over queries. It is proportional to the dimension: each adds the same number of nats. Near uniform it is
:math:`\tfrac34 d b^2`, half the variance of the logits in a row; far from it :math:`\tfrac d2 \log b`, so that one key
is left where :math:`\kappa / s^2 = n^{-2/d}`: on a line keys crowd, and only a lower temperature parts them. No
dimension is too small to be sharp; a dimension only sets the temperature that it takes.

The expectation holds while several keys share a row; ``simulated_concentration`` holds everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.errors import UsageError

FEWEST_KEYS = 16
"""Rows with fewer keys are left out of simulated means: their entropy says little."""

BATCH_NUMBERS = 2**22
"""Numbers of a simulated batch of rows by keys."""


@dataclass(frozen=True)
class Concentration:
    """Concentration of attention in simulated heads: entropy deficit, share of effective keys and largest weight,
    averaged over rows.

    Attributes:
        deficit: ``log n - H`` in nats.
        share: ``exp(H) / n``, effective keys over visible keys.
        largest: Largest weight.
    """

    deficit: float
    share: float
    largest: float


def entropy_deficit(dim: float, ratio: float) -> float:
    r"""Return a head's expected entropy deficit in nats, ``log n - H`` for n visible keys and attention entropy H;
    valid while rows have many effective keys.

    Reading: twice the dimension gives twice the nats at one ``ratio``; a head of 1 needs a smaller ratio than one of 5
    for the same nats, and gets there.
    Pitfall: it does not know n; where it nears ``log n``, rows have few keys left and it is too large.

    Args:
        dim: Dimension of the head.
        ratio: Temperature over the variance of a belief's component, ``kappa / s^2``.

    Raises:
        UsageError: An argument is not positive.
    """
    _check(dim=dim, ratio=ratio)
    spread = 1 / ratio
    part = spread / (1 + spread)
    return dim / 2 * (math.log1p(spread) - part + part**2)


def sharp_ratio(dim: float, keys: float) -> float:
    r"""Return the ratio ``kappa / s^2`` (temperature over variance of belief means) at which rows over ``n = keys``
    keys have about one effective key: :math:`n^{-2/d}`.

    Raises:
        UsageError: An argument is not positive.
    """
    _check(dim=dim, keys=keys)
    return keys ** (-2 / dim)


def least_dimension(ratio: float, share: float) -> int:
    """Return the smallest head dimension at which the effective keys ``exp(H)`` are at most the fraction ``share`` of
    visible keys, for ``kappa / s^2 = ratio``.

    Args:
        ratio: ``kappa / s^2``.
        share: Effective keys over visible keys, under 1.

    Raises:
        UsageError: ``ratio`` is not positive, or ``share`` not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must lie between 0 and 1; came {share}")
    return max(1, math.ceil(math.log(1 / share) / entropy_deficit(1, ratio) - 1e-9))


def needed_ratio(dim: float, share: float) -> float:
    """Return the ratio ``kappa / s^2`` at which a head of dimension ``dim`` has effective keys ``exp(H)`` equal to the
    fraction ``share`` of visible keys.

    Raises:
        UsageError: ``dim`` is not positive, or ``share`` not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must lie between 0 and 1; came {share}")
    low, high = 1e-300, 1e12
    wanted = math.log(1 / share)
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if entropy_deficit(dim, middle) > wanted else (low, middle)
    return math.sqrt(low * high)


def simulated_concentration(
    dim: int, ratio: float, keys: int, generator: torch.Generator, heads: int = 64
) -> Concentration:
    """Simulate causal heads with random normal beliefs, where each token sees only earlier tokens, and return their
    mean concentration.

    Args:
        dim: Dimension of the head.
        ratio: ``kappa / s^2``.
        keys: Tokens of the sequence, at least 17.
        generator: Of the beliefs.
        heads: Independent heads.

    Raises:
        UsageError: A size is too small, or the ratio not positive.
    """
    _check(dim=dim, ratio=ratio)
    if keys <= FEWEST_KEYS or heads < 1:
        raise UsageError(f"keys must be over {FEWEST_KEYS} and heads at least 1; came {keys} and {heads}")
    parts = [
        _rows(torch.randn(some, keys, dim, generator=generator, dtype=torch.float64), ratio)
        for some in _portions(heads, max(1, BATCH_NUMBERS // keys**2))
    ]
    deficit, share, largest = (float(column.mean()) for column in torch.cat(parts, dim=1))
    return Concentration(deficit, share, largest)


def _portions(total: int, most: int) -> list[int]:
    return [min(most, total - begun) for begun in range(0, total, most)]


def _rows(means: Tensor, ratio: float) -> Tensor:
    """Deficit, share and largest weight of every row with enough keys, ``(3, rows)``."""
    position = torch.arange(means.shape[1])
    logits = -torch.cdist(means, means).square() / (2 * ratio)
    logits = logits.masked_fill(position[None, :] >= position[:, None], -torch.inf)[:, FEWEST_KEYS:]
    logs = logits.log_softmax(-1)
    entropy = torch.special.entr(logs.exp()).sum(-1)
    seen = position[FEWEST_KEYS:].log()
    found = (seen - entropy, (entropy - seen).exp(), logs.amax(-1).exp())
    return torch.stack([column.flatten() for column in found])


def _check(**positive: float) -> None:
    for name, value in positive.items():
        if not value > 0:
            raise UsageError(f"{name} must be above 0; came {value}")
