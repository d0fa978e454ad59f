"""Divide the columns of tokens' Gaussian beliefs (means, log-variances, shears) among the heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from heedful.errors import UsageError
from heedful.gauge.beliefs import COVARIANCES, Full, Gaussians, gaussians
from heedful.gauge.irreps import Irreps


@dataclass(frozen=True)
class TokenBeliefs:
    """Beliefs of tokens, with the columns of all heads concatenated.

    Attributes:
        mean: ``(batch, token, mean column)``.
        log_variance: ``(batch, token, variance column)``.
        shear: ``(batch, token, shear column)``, or None where no covariance is full.
    """

    mean: Tensor
    log_variance: Tensor
    shear: Tensor | None = None


@dataclass(frozen=True)
class BeliefLayout:
    """Assigns columns of means, log-variances and shears (entries of the covariance's triangular factor) to heads, for
    given irreps and covariance form.

    Attributes:
        irreps: The heads.
        covariance: One of ``COVARIANCES``.
        own_frames: Whether variances stand on the diagonal of the token's own frame, not of the common one.

    Raises:
        UsageError: There is no such form.
    """

    irreps: Irreps
    covariance: str
    own_frames: bool = False

    def __post_init__(self) -> None:
        if self.covariance not in COVARIANCES:
            raise UsageError(f"covariance {self.covariance!r}: expected one of {', '.join(COVARIANCES)}")

    @cached_property
    def variances(self) -> int:
        """Number of log-variance columns."""
        return self.irreps.heads if self.covariance == "isotropic" else self.irreps.dim

    @cached_property
    def shears(self) -> int:
        """Number of shear columns."""
        return sum(dim * (dim - 1) // 2 for dim in self.irreps.dims) if self.covariance == "full" else 0

    def groups(self, tokens: TokenBeliefs) -> tuple[Gaussians, ...]:
        """Split beliefs into groups of equal irreps, ``(batch, copy, token, dim)`` each."""
        widths = [2 * order + 1 for _, order in self.irreps.groups]
        spreads = [1] * len(widths) if self.covariance == "isotropic" else widths
        means, logs = self._split(tokens.mean, widths), self._split(tokens.log_variance, spreads)
        if self.covariance != "full":
            return tuple(gaussians(self.covariance, mean, log) for mean, log in zip(means, logs, strict=True))
        shear = tokens.mean.new_zeros(*tokens.mean.shape[:-1], 0) if tokens.shear is None else tokens.shear
        shears = self._split(shear, [width * (width - 1) // 2 for width in widths])
        return tuple(gaussians("full", *parts) for parts in zip(means, logs, shears, strict=True))

    def tokens(self, groups: Sequence[Gaussians]) -> TokenBeliefs:
        """Concatenate all groups again; the inverse of ``groups``."""
        shears = [group.shear for group in groups if isinstance(group, Full)]
        return TokenBeliefs(
            mean=side_by_side([group.mean for group in groups]),
            log_variance=side_by_side([group.log_variance for group in groups]),
            shear=side_by_side(shears) if self.shears else None,
        )

    def _split(self, columns: Tensor, widths: Sequence[int]) -> list[Tensor]:
        copies = [number for number, _ in self.irreps.groups]
        parts = columns.split([number * width for number, width in zip(copies, widths, strict=True)], dim=-1)
        shapes = zip(parts, copies, widths, strict=True)
        return [part.unflatten(-1, (number, width)).transpose(1, 2) for part, number, width in shapes]


def side_by_side(groups: Sequence[Tensor]) -> Tensor:
    """Concatenate groups of shape ``(batch, copy, token, dim)`` to ``(batch, token, all columns)``."""
    return torch.cat([group.transpose(1, 2).flatten(2) for group in groups], dim=-1)
