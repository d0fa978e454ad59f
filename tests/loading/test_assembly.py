"""Weights into a module that stands already."""

from __future__ import annotations

import json

import pytest
import torch
from tests.loading import material
from torch import nn

from heedful.loading.assembly import assemble, fill
from heedful.loading.model_config import plan_model
from heedful.loading.skeleton import build_skeleton


def _fill(
    tensors: dict[str, torch.Tensor], family: str = "gpt2", dtype: torch.dtype = torch.float32
) -> tuple[object, tuple[str, ...]]:
    model = material.make_model(family)
    settings = {**json.loads(model.config.to_json_string()), "architectures": [type(model).__name__]}
    plan = plan_model(settings, "c")
    return assemble(plan, tensors, build_skeleton(plan, "c"), dtype, "weights.pt")


def _state(family: str = "gpt2") -> dict[str, torch.Tensor]:
    return dict(material.make_model(family).state_dict())


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_every_parameter_comes_from_the_checkpoint(family: str) -> None:
    state = {key: tensor + 1 for key, tensor in _state(family).items()}
    before = torch.get_rng_state()
    model, notes = _fill(state, family)
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training and not notes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_tied_weights_may_be_given_once() -> None:
    state = _state()
    del state["lm_head.weight"]
    model, _ = _fill(state)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_a_base_models_keys_fill_the_model_with_a_head() -> None:
    state = {key.removeprefix("transformer."): value for key, value in _state().items() if key != "lm_head.weight"}
    model, _ = _fill(state)
    assert torch.equal(model.transformer.h[1].attn.c_attn.weight, state["h.1.attn.c_attn.weight"])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_training_wrappers_root_is_stripped(family: str) -> None:
    state = {f"model.{key}": value for key, value in _state(family).items()}
    assert "prefix 'model.' stripped" in _fill(state, family)[1][0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_parameters_have_the_dtype_asked_for(dtype: torch.dtype) -> None:
    assert {parameter.dtype for parameter in _fill(_state(), dtype=dtype)[0].parameters()} == {dtype}


def test_derived_buffers_and_other_heads_are_left_out_with_a_note() -> None:
    extra = {"embeddings.position_ids": torch.arange(64)[None], "cls.seq_relationship.weight": torch.ones(2, 16)}
    _, notes = _fill({**_state("bert"), **extra}, "bert")
    assert any("cls.seq_relationship.weight" in note for note in notes)


@pytest.mark.parametrize(
    "key",
    ["albert.pooler.weight", "qa_outputs.bias", "classification_head.dense.weight", "model.score.weight",
     "value_head.0.weight", "bert.cls.predictions.bias", "predictions.LayerNorm.bias",
     "sop_classifier.classifier.bias"],
)  # fmt: skip
@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_heads_and_poolers_that_the_model_lacks_are_left_out_with_a_note(key: str, family: str) -> None:
    _, notes = _fill({**_state(family), key: torch.ones(2, 16)}, family)
    assert notes == (f"heads of other tasks left out: {key}",)


@pytest.mark.parametrize("key", ["transformer.h.2.score.weight", "transformer.h.1.attn.heads.weight", "extra.weight"])
def test_what_could_be_a_part_of_the_layers_is_still_refused(key: str) -> None:
    material.refused(lambda: _fill({**_state(), key: torch.ones(2, 16)}), 3, f"1 left over ({key})")


def test_a_missing_pooler_is_left_untrained_with_a_note() -> None:
    state = {key: value for key, value in _state("bert").items() if "pooler" not in key}
    before = torch.get_rng_state()
    _, notes = _fill(state, "bert")
    assert notes == ("not in the checkpoint, left untrained: pooler.dense.bias, pooler.dense.weight",)
    assert torch.equal(before, torch.get_rng_state())


def test_missing_left_over_and_misshapen_keys_are_counted_and_named() -> None:
    state = _state()
    del state["transformer.h.1.attn.c_attn.weight"]
    state["transformer.h.2.attn.c_attn.weight"] = torch.ones(16, 48)
    state["transformer.wpe.weight"] = torch.ones(32, 16)
    message = material.refused(lambda: _fill(state), 3, "weights.pt", "GPT2LMHeadModel")
    assert "1 missing (transformer.h.1.attn.c_attn.weight)" in message
    assert "1 left over (transformer.h.2.attn.c_attn.weight)" in message
    assert "1 of another shape (transformer.wpe.weight (32, 16) for (64, 16))" in message


def test_at_most_ten_keys_are_named() -> None:
    message = material.refused(lambda: _fill({f"x{i}": torch.ones(1) for i in range(30)}), 3, "30 left over")
    assert message.count("x") < 30 and "and 20 more" in message


class Tied(nn.Module):
    """Two names of one weight, a mask that is built anew, and a buffer that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.last = self.first
        self.attn = nn.Module()
        self.attn.register_buffer("bias", torch.ones(2))
        self.norm = nn.BatchNorm1d(3)


def given() -> dict[str, torch.Tensor]:
    return {key: tensor.clone() + 1 for key, tensor in Tied().state_dict().items()}


@pytest.mark.parametrize("absent", [("first.weight",), ("last.weight",), ("attn.bias",)])
def test_what_may_be_left_out(absent: tuple[str, ...]) -> None:
    model, tensors = Tied(), given()
    for key in absent:
        tensors.pop(key)
    assert fill(model, dict(tensors), "w") == ()
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in tensors.items())


@pytest.mark.parametrize("absent", [("first.weight", "last.weight"), ("norm.running_mean",), ("norm.weight",)])
def test_what_may_not(absent: tuple[str, ...]) -> None:
    model, tensors = Tied(), given()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for key in absent:
        tensors.pop(key)
    material.refused(lambda: fill(model, tensors, "w"), 3, "1 missing", absent[0])
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_root_and_left_over_buffers_are_noted() -> None:
    tensors = {f"model.{key}": tensor for key, tensor in given().items()}
    notes = fill(Tied(), tensors | {"model.rotary.inv_freq": torch.ones(2)}, "w")
    assert "'model.'" in notes[0] and notes[1] == "1 buffers of the checkpoint are rebuilt"
