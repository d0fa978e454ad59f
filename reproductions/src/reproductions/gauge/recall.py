r"""A recall task that needs a sharp head: find the same token among others and predict its class.

Of 32 kinds of tokens, each a point :math:`m` of ``dim`` dimensions, a row shows 24 different ones and asks for the
class of one of them. Its answer is :math:`\sum_j \operatorname{softmax}_j(-\tfrac12 |m_i - m_j|^2 / \kappa) v_j`,
logits of 8 classes. Points, logits of each kind, and where the arm says so :math:`\kappa` are learned; no frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS, SHOWN, CLASSES = 32, 24, 8
STEPS, BATCH, RATE = 600, 64, 3e-2
KAPPA = 0.4318
LEARNED = ("learned", "longer")
TRIALS = 512
"""Arms whose temperature is learned; rows on which a trained head is judged."""


@dataclass(frozen=True, kw_only=True)
class RecallArm:
    """Settings of one variant of the recall task: dimension, and whether points and temperature are learned or fixed.

    Attributes:
        name: ``held``: points of variance 1 a component, so that ``kappa / s^2`` stays; ``learned``: the same with a
            learned temperature; ``free``: points as they come, the temperature held; ``longer``: as ``learned``, four
            times the steps.
        dim: Dimensions.
        weight: Weight of the divergence from what is attended to, a query.
    """

    name: str
    dim: int
    weight: float = 0.0


ARMS = (
    *(RecallArm(name=name, dim=dim) for name in ("held", "learned") for dim in (1, 3, 5)),
    *(RecallArm(name="longer", dim=dim) for dim in (1, 5)),
    *(RecallArm(name="free", dim=dim, weight=weight) for weight in (0.0, 1.0, 24.0) for dim in (1, 5)),
)
"""24 is the sum over the keys of a row, for a weight of one a pair of tokens."""


class RecallHeads:
    """Heads of one variant for several seeds, trained in parallel and independent of each other.

    Args:
        arm: The arm.
        seeds: Seeds of points, logits and rows.
    """

    def __init__(self, arm: RecallArm, seeds: list[int]) -> None:
        self.arm = arm
        self.draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.points = self._normal(KINDS, arm.dim).requires_grad_()
        self.logits = (0.1 * self._normal(KINDS, CLASSES)).requires_grad_()
        start = torch.full((len(seeds),), KAPPA).log()
        self.log_kappa = start.requires_grad_(arm.name in LEARNED)

    def _normal(self, *size: int) -> Tensor:
        return torch.stack([torch.randn(size, generator=draw) for draw in self.draws])

    def placed(self) -> Tensor:
        """Return the points as the head sees them, ``(seed, kind, dim)``."""
        if self.arm.name == "free":
            return self.points
        return (self.points - self.points.mean(1, keepdim=True)) / self.points.std(1, keepdim=True)

    def rows(self, count: int) -> Tensor:
        """Return random rows of token kinds, ``(seed, row, shown)``; the first kind is the query."""
        return torch.stack([torch.rand(count, KINDS, generator=draw).argsort(-1)[:, :SHOWN] for draw in self.draws])

    def answer(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights and divergences ``(seed, row, shown)``, and class logits ``(seed, row, class)``."""
        seed = torch.arange(len(rows))[:, None, None]
        points = self.placed()[seed, rows]
        apart = (points[:, :, :1] - points).square().sum(-1) / 2
        weights = (-apart / self.log_kappa.exp()[:, None, None]).softmax(-1)
        return weights, apart, (weights[..., None] * self.logits[seed, rows]).sum(2)

    def loss(self, rows: Tensor) -> Tensor:
        """Return the mean loss of each seed, summed over seeds."""
        weights, apart, logits = self.answer(rows)
        wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), (rows[..., 0] % CLASSES).flatten())
        return len(rows) * (wanted + self.arm.weight * (weights * apart).sum(-1).mean())


def recalled(arm: RecallArm, seeds: list[int], steps: int | None = None) -> list[dict[str, float | int | str]]:
    """Train the heads of one variant and return their measurements, one dict per seed.

    Args:
        arm: The arm.
        seeds: A head each.
        steps: Steps of Adam; None for those of the arm.

    Returns:
        A row a seed: ``accuracy``, ``effective_keys``, ``largest`` weight, ``row_std`` and ``kappa_over_spread``.
    """
    heads = RecallHeads(arm, seeds)
    learned = [heads.points, heads.logits] + [heads.log_kappa] * (arm.name in LEARNED)
    optimiser = torch.optim.Adam(learned, lr=RATE)
    for _ in range(steps or (4 * STEPS if arm.name == "longer" else STEPS)):
        optimiser.zero_grad()
        heads.loss(heads.rows(BATCH)).backward()
        optimiser.step()
    with torch.no_grad():
        rows = heads.rows(TRIALS)
        weights, _, logits = heads.answer(rows)
        spread = heads.placed().var(1).mean(-1)
        found = {
            "accuracy": (logits.argmax(-1) == rows[..., 0] % CLASSES).double().mean(-1),
            "effective_keys": torch.special.entr(weights).sum(-1).exp().mean(-1),
            "largest": weights.amax(-1).mean(-1),
            "row_std": weights.std(-1, correction=0).mean(-1),
            "kappa_over_spread": heads.log_kappa.exp() / spread,
        }
    facts: dict[str, float | int | str] = {"arm": arm.name, "dim": arm.dim, "weight": arm.weight}
    return [
        {**facts, "seed": seed, **{name: float(values[place]) for name, values in found.items()}}
        for place, seed in enumerate(seeds)
    ]
