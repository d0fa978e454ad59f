from __future__ import annotations

import json

import torch
from torch import Tensor, nn

import heedful


class Mixer(nn.Module):
    """Logits without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.embedding(input_ids).cumsum(1)


def test_every_module_is_proved_and_the_record_says_so() -> None:
    found = heedful.doctor(heedful.load_model(), torch.randint(5, 200, (2, 12)))
    assert (found.met, found.proved) == (4, 4)
    assert repr(found) == "CaptureProofs(embedded default: 4 of 4 modules captured, 4 proved both ways)"
    document = json.loads(found.to_json())
    assert document["schema"] == "heedful.doctor/1" and document["proofs"][0]["recomputed"] is True
    assert "model.layers.3.self_attn" in found.to_html() and "4 of 4 modules captured" in found._repr_html_()


def test_a_model_without_attention_is_no_error() -> None:
    found = heedful.doctor(Mixer(), torch.randint(0, 9, (2, 12)))
    assert found.met == 0 and "no module of this model looks like attention" in found.to_html()
