"""Models of Gaussian beliefs that loop over their heads: one softmax of (batch, query, key) a head, several irreps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPEC = [("ℓ0", 2, 1), ("ℓ1", 1, 3), ("ℓ2", 1, 5)]
KAPPA = 0.5


class KLAttention(nn.Module):
    """Divergences of beliefs that are carried from frame to frame; returns messages, weights and divergences."""

    def __init__(self, form: str = "einsum", heads: int | None = None) -> None:
        super().__init__()
        self.dims = [dim for _, copies, dim in SPEC for _ in range(copies)]
        self.form, self.kappa = form, KAPPA
        self.head_labels = tuple(f"l{(dim - 1) // 2}" for dim in self.dims)
        if heads is not None:
            self.num_heads = heads
        turns = [torch.randn(3, dim, dim) for dim in self.dims]
        self.turns = [turn - turn.transpose(-1, -2) for turn in turns]

    def forward(self, mean: Tensor, variance: Tensor, angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        messages, weights, divergences = [], [], []
        begin = 0
        for dim, turn in zip(self.dims, self.turns, strict=True):
            own, spread = mean[..., begin : begin + dim], variance[..., begin : begin + dim]
            begin += dim
            frame = torch.matrix_exp(torch.einsum("bna,aij->bnij", angle, turn))
            carry = torch.einsum("bikl,bjml->bijkm", frame, frame)
            carried = torch.einsum("bijkl,bjl->bijk", carry, own)
            theirs = torch.einsum("bijkl,bjl->bijk", carry**2, spread)
            gap = carried - own[:, :, None]
            here = spread[:, :, None, :]
            apart = 0.5 * (here / theirs + gap**2 / theirs + theirs.log() - here.log()).sum(-1) - dim / 2
            past = torch.tril(torch.ones(own.shape[1], own.shape[1]))
            beta = torch.softmax((-apart / KAPPA).masked_fill(past == 0, float("-inf")), dim=-1)
            messages.append(self.message(beta, carried, own))
            weights.append(beta)
            divergences.append(apart)
        return torch.cat(messages, -1), torch.stack(weights, 1), torch.stack(divergences, 1)

    def message(self, beta: Tensor, carried: Tensor, own: Tensor) -> Tensor:
        if self.form == "einsum":
            return torch.einsum("bij,bijk->bik", beta, carried)
        if self.form == "sum":
            return (beta.unsqueeze(-1) * carried).sum(dim=2)
        if self.form == "matmul":
            return torch.matmul(beta[:, :, None, :], carried).squeeze(2)
        return beta @ own  # values of keys alone


class KLModel(nn.Module):
    """Two layers of it between tables and a readout."""

    def __init__(self, form: str = "einsum", heads: int | None = None) -> None:
        super().__init__()
        width = sum(copies * dim for _, copies, dim in SPEC)
        self.mean, self.log_variance, self.angle = nn.Embedding(30, width), nn.Embedding(30, width), nn.Embedding(30, 3)
        self.layers = nn.ModuleList(KLAttention(form, heads) for _ in range(2))
        self.out = nn.Linear(width, 30)

    def forward(self, ids: Tensor) -> Tensor:
        hidden, variance, angle = self.mean(ids), (0.2 * self.log_variance(ids)).exp(), 0.3 * self.angle(ids)
        for layer in self.layers:
            hidden = hidden + layer(hidden, variance, angle)[0]
        return self.out(hidden)


def model_and_ids(form: str = "einsum", batch: int = 2, heads: int | None = None) -> tuple[KLModel, Tensor]:
    torch.manual_seed(0)
    return KLModel(form, heads).eval(), torch.randint(0, 30, (batch, 12))


def own_weights(model: KLModel, ids: Tensor) -> list[Tensor]:
    """Weights of each layer as the modules return them, ``(batch, head, query, key)``."""
    found: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda m, a, out: found.append(out[1])) for layer in model.layers]
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return found
