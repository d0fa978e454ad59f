"""The gauge transformer of the note by loops over pairs: its formula for the divergence, nothing of heedful.

Generators are found from what rotations do to real spherical harmonics, polar axis z.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import logm
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y
from torch import Tensor

Spec = Sequence[tuple[str, int, int]]


def note_generators(spec: Spec) -> Tensor:
    """``(3, width, width)`` float64: a block for each head."""
    dims = [dim for _, copies, dim in spec for _ in range(copies)]
    found = torch.zeros(3, sum(dims), sum(dims), dtype=torch.float64)
    begin = 0
    for dim in dims:
        found[:, begin : begin + dim, begin : begin + dim] = _irrep((dim - 1) // 2)
        begin += dim
    return found


def _irrep(order: int) -> Tensor:
    """Skew matrices of x, y, z: the logarithm of what a rotation does to real spherical harmonics at many points."""
    draw = np.random.default_rng(0)
    points = draw.standard_normal((400, 3))
    before = _harmonics(points, order)
    found = []
    for axis in range(3):
        turn = Rotation.from_rotvec(0.7 * np.eye(3)[axis]).as_matrix()
        after = _harmonics(points @ turn, order)  # f of R^-1 r
        matrix = np.linalg.lstsq(before, after, rcond=None)[0]
        found.append(torch.from_numpy(np.real(logm(matrix)) / 0.7))
    return torch.stack(found)


def _harmonics(points: np.ndarray, order: int) -> np.ndarray:
    """Real spherical harmonics of one order, m from -l to l: sines of the negative ones, cosines of the others."""
    theta = np.arccos(points[:, 2] / np.linalg.norm(points, axis=1))
    phi = np.arctan2(points[:, 1], points[:, 0])
    columns = []
    for m in range(-order, order + 1):
        legendre = np.real(sph_harm_y(order, abs(m), theta, 0.0)) * (-1) ** m
        columns.append(legendre * (np.sin(-m * phi) if m < 0 else np.cos(m * phi)) * (2**0.5 if m else 1.0))
    return np.stack(columns, 1)


def note_weights(tables: dict[str, Tensor], spec: Spec, kappa: float, ids: Tensor, mask_self: bool) -> Tensor:
    """``softmax(-KL / kappa)`` of every head, ``(batch, head, query, key)`` float64, pair by pair."""
    return _attended(tables, spec, kappa, ids, mask_self)[0]


def note_logits(
    tables: dict[str, Tensor],
    spec: Spec,
    kappa: float,
    ids: Tensor,
    mask_self: bool,
    *,
    residual: bool = False,
    matrices: list[Tensor] | None = None,
) -> Tensor:
    """Logits of one block: messages carried into each query's frame, a feed-forward, the readout."""
    _, messages, mean = _attended(tables, spec, kappa, ids, mask_self)
    hidden = mean + messages if residual else messages
    if matrices is not None:
        into, bias, out, shift = (matrix.double() for matrix in matrices)
        inner = hidden @ into.T + bias
        inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
        hidden = (hidden if residual else 0) + inner @ out.T + shift
    return hidden @ tables["out_proj.weight"].double().T


def _attended(
    tables: dict[str, Tensor], spec: Spec, kappa: float, ids: Tensor, mask_self: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dims = [dim for _, copies, dim in spec for _ in range(copies)]
    turns = tables["generators"].double()
    mean = tables["token_embed.mu_embed.weight"].double()[ids]
    mean = mean + tables["token_embed.pos_embed.weight"].double()[: ids.shape[1]]
    logs = tables["token_embed.log_sigma_diag"].double()
    spread = logs.exp().clamp(0.01, 5.0)
    spread = spread[ids] if spread.dim() == 2 else spread.expand(*ids.shape, -1)
    phi = tables["token_embed.phi_embed.weight"].double()[ids]
    batch, count = ids.shape
    beta = torch.zeros(batch, len(dims), count, count, dtype=torch.float64)
    messages = torch.zeros(batch, count, sum(dims), dtype=torch.float64)
    for b in range(batch):
        begin = 0
        for head, dim in enumerate(dims):
            part = slice(begin, begin + dim)
            begin += dim
            frames = [
                torch.matrix_exp(sum(phi[b, i, a] * turns[a, part, part] for a in range(3))) for i in range(count)
            ]
            for i in range(count):
                seen = [j for j in range(i + 1) if not (mask_self and j == i and i > 0)]
                apart, carried = [], []
                for j in seen:
                    omega = frames[i] @ frames[j].T
                    moved, covariance = omega @ mean[b, j, part], omega @ torch.diag(spread[b, j, part]) @ omega.T
                    inverse = torch.linalg.inv(covariance)
                    gap = moved - mean[b, i, part]
                    trace = torch.trace(inverse @ torch.diag(spread[b, i, part]))
                    logs_apart = torch.logdet(covariance) - spread[b, i, part].log().sum()
                    apart.append((trace + gap @ inverse @ gap - dim + logs_apart) / 2)
                    carried.append(moved)
                row = torch.softmax(-torch.stack(apart) / kappa, 0)
                beta[b, head, i, seen] = row
                messages[b, i, part] = row @ torch.stack(carried)
    return beta, messages, mean
