"""Running a model on token ids, and leaving it as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from heedful.errors import InputRejected
from heedful.evaluation.running import device_of, evaluating, main_output, run_model, tensor_of

IDS = torch.zeros(2, 5, dtype=torch.long)
WHOLE, PADDED = torch.ones_like(IDS), torch.tensor([[1] * 5, [1] * 3 + [0] * 2])


def mixed_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)), nn.Dropout())
    model[1][1].eval()
    return model


@pytest.mark.parametrize("fails", [False, True])
def test_flags_and_random_state_are_restored_whatever_happens(fails: bool) -> None:
    model = mixed_model()
    flags, state = [m.training for m in model.modules()], torch.get_rng_state()
    try:
        with evaluating(model):
            assert not any(m.training for m in model.modules())
            torch.rand(7)
            model[2].train()
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert [m.training for m in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)


class Recorder(nn.Module):
    """Keeps what it was called with."""

    def record(self, **given: Any) -> Tensor:
        self.given = {name: value for name, value in given.items() if value is not None}
        return torch.zeros(2, 5, 3)


class Named(Recorder):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, use_cache: bool | None = None) -> Tensor:
        return self.record(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)


class Plain(Recorder):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.record(tokens=tokens)


class Open(Recorder):
    def forward(self, x: Tensor, **more: Any) -> Tensor:
        return self.record(x=x, **more)


@pytest.mark.parametrize(
    ("model", "mask", "names"),
    [
        (Named(), WHOLE, {"input_ids", "use_cache"}),
        (Named(), PADDED, {"input_ids", "attention_mask", "use_cache"}),
        (Plain(), PADDED, {"tokens"}),
        (Open(), PADDED, {"x", "attention_mask"}),
        (Open(), WHOLE, {"x"}),
    ],
)
def test_a_forward_gets_what_it_takes(model: Recorder, mask: Tensor, names: set[str]) -> None:
    run_model(model, IDS, mask)
    assert set(model.given) == names
    assert not model.given.get("use_cache", False)


def test_a_tensor_is_found_in_every_form_of_output() -> None:
    wanted = torch.ones(2, 5, 3)
    assert tensor_of(SimpleNamespace(logits=wanted), "logits") is wanted
    assert tensor_of({"logits": wanted}, "logits") is wanted
    assert tensor_of((torch.ones(()), wanted), "logits") is wanted
    assert tensor_of(wanted, "logits") is wanted
    assert tensor_of({"other": wanted}, "logits") is None
    assert main_output(SimpleNamespace(last_hidden_state=wanted)) is wanted
    with pytest.raises(InputRejected, match="neither logits nor hidden states"):
        main_output({"pooled": wanted})


def test_the_device_is_the_first_parameters() -> None:
    assert device_of(nn.Identity()) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("cpu")  # offloaded: hooks bring it inputs
