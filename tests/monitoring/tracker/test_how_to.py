"""The blocks of docs/how-to/watch-training.md run as they stand there."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from tests.monitoring.tracker.loops import sgd, trainer
from tests.monitoring.tracker.material import batches, qwen
from tests.places import ROOT

from heedful.monitoring.tracker.table import read_table


def blocks() -> dict[str, str]:
    """The python blocks by a word of their heading; further ones of the same heading are numbered."""
    page = (ROOT / "docs" / "how-to" / "watch-training.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in page.split("\n## ")[1:]:
        title = part.splitlines()[0]
        name = re.split(r"[ ,]", title.removeprefix("In ").removeprefix("With ").removeprefix("a "))[0]
        for place, block in enumerate(re.findall(r"```python\n(.*?)```", part, re.DOTALL)):
            found[f"{name}{place or ''}"] = block
    return found


class Metrics:
    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def log(self, step: int, loss: float, extra_metrics: dict[str, float]) -> None:
        self.logged.append(extra_metrics)


@pytest.mark.parametrize("name", [name for name in blocks() if name != "Lightning"])
def test_a_block_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = qwen()
    metrics, logged = Metrics(), []
    given: dict[str, Any] = {
        "model": model,
        "optimizer": sgd(model),
        "batches": batches(3),
        "trainer": trainer(tmp_path),
        "log": lambda numbers, step: logged.append(numbers),
        "model_parts": [model],
        "optimizers": [sgd(model)],
        "data": [(ids, F.pad(ids[:, 1:], (0, 1), value=-100)) for ids in batches(3)],
        "metrics_processor": metrics,
    }
    exec(compile(blocks()[name], "watch-training.md", "exec"), given)
    if name != "Alarms":  # there the callback is attached, and nothing trained
        assert read_table("run")["step"].max() >= 1
    if name == "loop":
        assert "attention/max_logit" in metrics.logged[0]
    if name == "plain":
        assert "attention/max_logit" in logged[0]


def test_the_blocks_are_all_there() -> None:
    assert list(blocks()) == ["transformers'", "plain", "Accelerate", "Lightning", "loop", "Alarms", "Alarms1"]
