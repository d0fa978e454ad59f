from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from heedful.app import app
from heedful.evaluation.page.proofs import lines
from heedful.interception.verify import Proof, verify

runner = CliRunner()


def test_the_model_that_ships_with_heedful_is_proved() -> None:
    result = runner.invoke(app, ["doctor", "--seq-len", "24"])
    assert (result.exit_code, result.stderr) == (0, "")
    rows = result.stdout.splitlines()
    assert rows[0].split() == ["module", "recomputed", "replaced"]
    assert all(row.count("yes (") == 2 and len(row) <= 80 for row in rows[1:-2])
    count = len(rows) - 3
    assert rows[-1] == f"{count} of {count} modules captured (attention table: sdpa), {count} proved both ways"


class Mixer(nn.Module):
    """A model without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.embedding(input_ids).cumsum(1)


def test_a_model_in_which_nothing_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.ones(2, 5, dtype=torch.int64)
    made: Any = SimpleNamespace(input_ids=ids, attention_mask=ids, notes=("a note",))
    monkeypatch.setattr(
        "heedful.evaluation.command_inputs.read",
        lambda inputs: (SimpleNamespace(model=Mixer(), name="m", notes=()), made),
    )
    result = runner.invoke(app, ["doctor", "m"])
    assert result.exit_code == 3
    assert (
        result.stdout
        == "no module of this model looks like attention, and no attention call was captured\nnote: a note\n"
    )


def test_lines_say_why_not() -> None:
    proofs = [
        Proof(path="a", way="softmax", heads=2, error=1e-7, recomputed=True, moved=0.5, replaced=True),
        Proof(path="b", way="softmax alone", heads=2, error=math.nan, reason="no values were seen"),
        Proof(path="layers.c", reason="Other ran and no attention call of it was seen"),
        Proof(path="layers.d", reason="Other ran and no attention call of it was seen"),
        Proof(path="layers.e", reason="Other ran and no attention call of it was seen"),
    ]
    assert lines(proofs) == [
        "module    way in         recomputed     replaced",
        "a         softmax        yes (1.0e-07)  yes (5.0e-01)",
        "b         softmax alone  -              -",
        "layers.c  not captured   -              -",
        "layers.d  not captured   -              -",
        "layers.e  not captured   -              -",
        "",
        "2 of 5 modules captured, 1 proved both ways",
        "",
        "b: no values were seen",
        "",
        "layers.c, layers.d and 1 more: Other ran and no attention call of it was seen",
    ]


class Encoder(nn.Module):
    """Torch's own encoder, as a factory may build it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.encoder(self.embedding(input_ids))


def test_what_watching_changes_is_said_within_80_columns() -> None:
    rows = lines(verify(Encoder().eval(), torch.arange(9)[None].expand(2, 9)))
    assert "2 of 2 modules captured (nn.MultiheadAttention), 2 proved both ways" in rows and max(map(len, rows)) <= 80
    assert " ".join(rows[-2:]).startswith(
        "nn.MultiheadAttention: torch's fused path is off while captured; padded rows"
    )
