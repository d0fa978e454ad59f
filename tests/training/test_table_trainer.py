"""Gains of norms decay where that is asked for, by the curve that decay alone gives, and only they."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from heedful.training.table_trainer import TableTrainer


class Normed(nn.Module):
    """A matrix, a gain that gets no gradient to speak of, and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.norm = nn.RMSNorm(4)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": self.dense(x).square().mean() + 0.0 * self.norm(x).sum()}


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_only_gains_follow_their_own_decay(decay: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = {"max_steps": 5, "learning_rate": 0.1, "weight_decay": 0.1, "lr_scheduler_type": "constant"}
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    data = [{"x": row, "labels": row} for row in torch.randn(16, 4)]
    run = TableTrainer(
        model=Normed(), args=TrainingArguments(output_dir=str(tmp_path), **given, **quiet), train_dataset=data
    )
    run.gain_weight_decay = decay
    run.train()
    norm = float(run.model.norm.weight.detach().norm())
    assert norm == pytest.approx(2 * (1 - 0.1 * decay) ** 5, rel=1e-6)
    found = {id(p): group["weight_decay"] for group in run.optimizer.param_groups for p in group["params"]}
    named = {name: found[id(p)] for name, p in run.model.named_parameters()}
    assert named == {"dense.weight": 0.1, "dense.bias": 0.0, "norm.weight": decay}
