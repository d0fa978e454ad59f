r"""Gaussian beliefs as query and key feature vectors, whose dot product gives the KL divergence.

A belief :math:`N(\mu_i, \Sigma_i)` in the frame :math:`R_i` is canonical as
:math:`m_i = R_i^{-1} \mu_i`, :math:`C_i = R_i^{-1} \Sigma_i R_i`. A common rotation changes no divergence, so that

.. math:: KL(q_i \,\|\, \Omega_{ij} q_j) = KL(N(m_i, C_i) \,\|\, N(m_j, C_j))
          = -f_i \cdot g_j - \tfrac12 (\log |C_i| + d)

with the query features :math:`f_i` and key features :math:`g_j` of the three forms of covariance below. Softmax over
keys drops the last term. The divergence of two Gaussians is a Bregman divergence: Banerjee et al. 2005, JMLR 6.

Covariances are kept in the common frame. Variances on the diagonal of a token's own frame (``Framed``) are a full
covariance there, :math:`C_i = R_i^{-1} \operatorname{diag}(c_i) R_i`, whose inverse needs only the reciprocals of the
variances. No part of it is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from heedful.errors import UsageError


@dataclass(frozen=True)
class Isotropic:
    """Gaussian beliefs with one variance for all dimensions; ``dim + 2`` features.

    Attributes:
        mean: ``(..., dim)``.
        log_variance: ``(..., 1)``.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def log_volume(self) -> Tensor:
        """Log-determinant of the covariance, ``log |C|``, one number per belief, ``(...)``."""
        return self.log_variance[..., 0] * self.mean.shape[-1]

    def covariance(self) -> Tensor:
        """Return the covariance matrices, ``(..., dim, dim)``."""
        return torch.diag_embed(self.log_variance.exp().expand_as(self.mean))

    def queries(self) -> Tensor:
        """Return the query features ``(d c + |m|^2, m, 1)`` for mean m and variance c, ``(..., dim + 2)``."""
        spread = self.log_variance.exp() * self.mean.shape[-1] + self.mean.square().sum(-1, keepdim=True)
        return _joined(spread, self.mean, torch.ones_like(spread))

    def keys(self) -> Tensor:
        """Return the key features ``(-p/2, p m, -(p |m|^2 + log |C|)/2)`` with ``p = 1/c``, ``(..., dim + 2)``."""
        precision = (-self.log_variance).exp()
        own = precision * self.mean.square().sum(-1, keepdim=True) + self.log_volume[..., None]
        return _joined(-precision / 2, precision * self.mean, -own / 2)

    def slopes(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Return natural gradients, in mean and log-variance, of the mean KL divergence from the attended keys;
        ``attended`` is the weighted mean of their key features.
        """
        quadratic, linear = attended[..., :1], attended[..., 1:-1]
        variance = self.log_variance.exp()
        return -variance * (2 * self.mean * quadratic + linear), -2 * quadratic * variance - 1


@dataclass(frozen=True)
class Diagonal:
    """Gaussian beliefs with one variance for each dimension; ``2 dim + 1`` features.

    Attributes:
        mean: ``(..., dim)``.
        log_variance: ``(..., dim)``.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def log_volume(self) -> Tensor:
        """Log-determinant of the covariance, ``log |C|``, one number per belief, ``(...)``."""
        return self.log_variance.sum(-1)

    def covariance(self) -> Tensor:
        """Return the covariance matrices, ``(..., dim, dim)``."""
        return torch.diag_embed(self.log_variance.exp())

    def queries(self) -> Tensor:
        """Return the query features ``(c + m^2, m, 1)`` for mean m and variances c, ``(..., 2 dim + 1)``."""
        return _joined(self.log_variance.exp() + self.mean.square(), self.mean, torch.ones_like(self.mean[..., :1]))

    def keys(self) -> Tensor:
        """Return the key features ``(-p/2, p m, -(sum p m^2 + log |C|)/2)`` with ``p = 1/c``, ``(..., 2 dim + 1)``."""
        precision = (-self.log_variance).exp()
        own = (precision * self.mean.square() + self.log_variance).sum(-1, keepdim=True)
        return _joined(-precision / 2, precision * self.mean, -own / 2)

    def slopes(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Return the natural gradients in mean and log-variances, as ``Isotropic.slopes`` does."""
        quadratic, linear = attended[..., :-1].chunk(2, dim=-1)
        variance = self.log_variance.exp()
        return -variance * (2 * self.mean * quadratic + linear), -2 * quadratic * variance - 1


@dataclass(frozen=True)
class Full:
    r"""Gaussian beliefs with any covariance :math:`C = U D U^T`; ``dim (dim + 3) / 2 + 1`` features, since C is
    symmetric.

    Attributes:
        mean: ``(..., dim)``.
        log_variance: Logs of the diagonal of ``D``, ``(..., dim)``.
        shear: Below the diagonal of the unit triangle ``U``, ``(..., dim (dim - 1) / 2)``, row by row.
    """

    mean: Tensor
    log_variance: Tensor
    shear: Tensor

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> Full:
        """Create beliefs from means and covariance matrices.

        Args:
            mean: ``(..., dim)``.
            covariance: ``(..., dim, dim)``.

        Raises:
            UsageError: It is not positive definite.
        """
        root, failed = torch.linalg.cholesky_ex(covariance)
        if bool(failed.any()):
            raise UsageError("covariance: expected positive definite matrices, got one with a variance of 0 or less")
        diagonal = root.diagonal(dim1=-2, dim2=-1)
        rows, columns = torch.tril_indices(root.shape[-2], root.shape[-1], offset=-1, device=root.device)
        return cls(mean, 2 * diagonal.log(), (root / diagonal[..., None, :])[..., rows, columns])

    @property
    def log_volume(self) -> Tensor:
        """Log-determinant of the covariance, ``log |C|``, one number per belief, ``(...)``."""
        return self.log_variance.sum(-1)

    @cached_property
    def triangle(self) -> Tensor:
        """The unit triangular factor ``U`` of the covariance, ``(..., dim, dim)``."""
        dim = self.mean.shape[-1]
        rows, columns = torch.tril_indices(dim, dim, offset=-1, device=self.mean.device)
        unit = torch.eye(dim, dtype=self.mean.dtype, device=self.mean.device).repeat(*self.mean.shape[:-1], 1, 1)
        unit[..., rows, columns] = self.shear
        return unit

    def covariance(self) -> Tensor:
        """Return the covariance matrices, ``(..., dim, dim)``."""
        return (self.triangle * self.log_variance.exp()[..., None, :]) @ self.triangle.transpose(-1, -2)

    def precision(self) -> Tensor:
        """Return the precision matrices ``C^-1``, ``(..., dim, dim)``, computed from the factors without inverting
        C.
        """
        unit = torch.eye(self.mean.shape[-1], dtype=self.mean.dtype, device=self.mean.device).expand_as(self.triangle)
        inverse = torch.linalg.solve_triangular(self.triangle, unit, upper=False, unitriangular=True)
        return inverse.transpose(-1, -2) @ ((-self.log_variance).exp()[..., None] * inverse)

    def queries(self) -> Tensor:
        """Return the query features ``(C + m m^T, m, 1)``; the symmetric matrix is stored as its lower triangle, with
        off-diagonal entries doubled.
        """
        return _second_order_queries(self)

    def keys(self) -> Tensor:
        """Return the key features ``(-P/2, P m, -(m^T P m + log |C|)/2)`` with ``P = C^-1``."""
        return _second_order_keys(self)

    def slopes(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Return the natural gradients in mean and log-variances, as ``Isotropic.slopes`` does; the factor U stays
        fixed.
        """
        return _second_order_slopes(self, self.triangle, attended)


@dataclass(frozen=True)
class Framed:
    r"""Gaussian beliefs whose covariance is diagonal in each token's own frame, :math:`C = F \operatorname{diag}(c)
    F^T`.

    As many features as ``Full``; variances as for ``Diagonal``.

    Attributes:
        mean: ``(..., dim)``, in the common frame.
        log_variance: ``(..., dim)``, in the own frame.
        frame: ``F``, the orthogonal matrix from the own frame into the common one, ``(..., dim, dim)``.
    """

    mean: Tensor
    log_variance: Tensor
    frame: Tensor

    @property
    def log_volume(self) -> Tensor:
        """Log-determinant of the covariance, ``log |C|``, one number per belief, ``(...)``."""
        return self.log_variance.sum(-1)

    def covariance(self) -> Tensor:
        """Return the covariance matrices, ``(..., dim, dim)``."""
        return self._turned(self.log_variance.exp())

    def precision(self) -> Tensor:
        """Return the precision matrices ``C^-1``, ``(..., dim, dim)``, computed from the reciprocals of the
        variances.
        """
        return self._turned((-self.log_variance).exp())

    def queries(self) -> Tensor:
        """Return the query features ``(C + m m^T, m, 1)``, packed as by ``Full.queries``."""
        return _second_order_queries(self)

    def keys(self) -> Tensor:
        """Return the key features ``(-P/2, P m, -(m^T P m + log |C|)/2)`` with ``P = C^-1``, packed as by
        ``Full.keys``.
        """
        return _second_order_keys(self)

    def slopes(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Return natural gradients in mean and log-variances, as ``Isotropic.slopes`` does; the frame stays fixed."""
        return _second_order_slopes(self, self.frame, attended)

    def _turned(self, diagonal: Tensor) -> Tensor:
        return (self.frame * diagonal[..., None, :]) @ self.frame.transpose(-1, -2)


def _second_order_queries(belief: Full | Framed) -> Tensor:
    second = belief.covariance() + belief.mean[..., :, None] * belief.mean[..., None, :]
    return _joined(_packed(second) * _twice(second), belief.mean, torch.ones_like(belief.mean[..., :1]))


def _second_order_keys(belief: Full | Framed) -> Tensor:
    precision = belief.precision()
    linear = (precision @ belief.mean[..., None])[..., 0]
    own = (belief.mean * linear).sum(-1, keepdim=True) + belief.log_volume[..., None]
    return _joined(-_packed(precision) / 2, linear, -own / 2)


def _second_order_slopes(belief: Full | Framed, axes: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
    """Natural gradients in the mean and the log-variances of ``C = axes diag(c) axes^T``, with ``axes`` fixed."""
    dim = belief.mean.shape[-1]
    quadratic, linear = _unpacked(attended[..., : -dim - 1], dim), attended[..., -dim - 1 : -1]
    pull = 2 * (quadratic @ belief.mean[..., None])[..., 0] + linear
    turned = axes.transpose(-1, -2) @ quadratic @ axes
    along = turned.diagonal(dim1=-2, dim2=-1) * belief.log_variance.exp()
    return -(belief.covariance() @ pull[..., None])[..., 0], -2 * along - 1


Gaussians = Isotropic | Diagonal | Full | Framed

COVARIANCES = ("isotropic", "diagonal", "full")

COVARIANCE_FRAMES = ("common", "token")
"""In which frame variances stand on the diagonal."""


def gaussians(covariance: str, mean: Tensor, log_variance: Tensor, shear: Tensor | None = None) -> Gaussians:
    """Create beliefs of the class for a covariance form (isotropic, diagonal, full).

    Args:
        covariance: One of ``COVARIANCES``.
        mean: ``(..., dim)``.
        log_variance: ``(..., 1)`` where isotropic, else ``(..., dim)``.
        shear: ``(..., dim (dim - 1) / 2)`` where full.

    Raises:
        UsageError: There is no such form.
    """
    if covariance == "isotropic":
        return Isotropic(mean, log_variance)
    if covariance == "diagonal":
        return Diagonal(mean, log_variance)
    if covariance == "full" and shear is not None:
        return Full(mean, log_variance, shear)
    raise UsageError(f"covariance {covariance!r}: expected one of {', '.join(COVARIANCES)}")


def log_of_variance(variance: Tensor) -> Tensor:
    """Return the logarithm of the variances.

    Raises:
        UsageError: One of them is not above 0.
    """
    if not bool((variance > 0).all()):
        raise UsageError(f"variance: expected numbers above 0, got {float(variance.detach().min()):.4g}")
    return variance.log()


def divergences(queries: Gaussians, keys: Gaussians) -> Tensor:
    """Return ``KL(q_i || q_j)`` for all pairs as a (query, key) array; use it only for a few sampled queries.

    Args:
        queries: Beliefs ``(..., query, dim)``.
        keys: Beliefs ``(..., key, dim)``.

    Returns:
        ``(..., query, key)`` in nats; rounding may leave a little less than 0.
    """
    products = queries.queries() @ keys.keys().transpose(-1, -2)
    return -products - (queries.log_volume[..., None] + queries.mean.shape[-1]) / 2


def own_divergence(belief: Gaussians, attended: Tensor) -> Tensor:
    """Return each belief's weighted mean KL divergence from keys, ``(...)``; ``attended`` is the weighted mean of
    their key features.

    Args:
        belief: ``(..., dim)``.
        attended: ``sum_j w_j g_j`` with weights that sum to one, ``(..., feature)``.

    Returns:
        ``sum_j w_j KL(q_i || q_j)``, ``(...)``.
    """
    return -(belief.queries() * attended).sum(-1) - (belief.log_volume + belief.mean.shape[-1]) / 2


def _joined(*parts: Tensor) -> Tensor:
    return torch.cat(parts, dim=-1)


def _packed(matrix: Tensor) -> Tensor:
    """Lower triangle of symmetric matrices, ``(..., dim (dim + 1) / 2)``."""
    rows, columns = torch.tril_indices(*matrix.shape[-2:], device=matrix.device)
    return matrix[..., rows, columns]


def _twice(matrix: Tensor) -> Tensor:
    """1 for entries on the diagonal and 2 for those that stand for a pair."""
    rows, columns = torch.tril_indices(*matrix.shape[-2:], device=matrix.device)
    return 2 - (rows == columns).to(matrix.dtype)


def _unpacked(packed: Tensor, dim: int) -> Tensor:
    """Symmetric matrices again, ``(..., dim, dim)``."""
    rows, columns = torch.tril_indices(dim, dim, device=packed.device)
    place = torch.empty(dim, dim, dtype=torch.long, device=packed.device)
    order = torch.arange(len(rows), device=packed.device)
    place[rows, columns] = order
    place[columns, rows] = order
    return packed[..., place]
