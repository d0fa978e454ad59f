from collections import OrderedDict

import pytest
import torch
from tests.loading import material

from heedful.loading.state_dict import extract_state_dict, is_derived

ONE = torch.ones(1)


def test_a_plain_state_dict_passes_unchanged() -> None:
    tensors, notes = extract_state_dict(OrderedDict(a=ONE), "f")
    assert list(tensors) == ["a"] and notes == ()


@pytest.mark.parametrize("nest", ["model_state_dict", "state_dict", "model", "module"])
def test_nests_are_opened_with_a_note(nest: str) -> None:
    tensors, notes = extract_state_dict({nest: {"a": ONE}, "epoch": 3, "optimizer": {"state": {}}}, "f")
    assert list(tensors) == ["a"] and nest in notes[0]


def test_two_nests_are_opened() -> None:
    tensors, notes = extract_state_dict({"state_dict": {"model": {"a": ONE}}}, "f")
    assert list(tensors) == ["a"] and len(notes) == 2


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("module.a.weight", "a.weight"),
        ("_orig_mod.a.weight", "a.weight"),
        ("module._orig_mod.module.a.weight", "a.weight"),
        ("a._orig_mod.weight", "a.weight"),
        ("_fsdp_wrapped_module.a._checkpoint_wrapped_module.weight", "a.weight"),
        ("submodule.a.weight", "submodule.a.weight"),
    ],
)
def test_wrapper_prefixes_are_stripped(key: str, plain: str) -> None:
    tensors, notes = extract_state_dict({key: ONE}, "f")
    assert list(tensors) == [plain] and bool(notes) == (key != plain)


def test_the_note_counts_the_keys() -> None:
    _, notes = extract_state_dict({f"module.{i}": ONE for i in range(120)}, "f")
    assert notes == ("prefix 'module.' stripped from 120 keys",)


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ([ONE], "found a list"),
        (ONE, "found a Tensor"),
        ({}, "found nothing"),
        ({1: ONE}, "not text"),
        ({"a": ONE, "step": 3}, "expected a tensor under step, found int"),
        ({"_orig_mod.a": ONE, "a": ONE}, "differ by a wrapper's prefix"),
        ({"base_model.model.h.0.attn.lora_A.weight": ONE, "base_model.model.h.0.attn.lora_B.weight": ONE}, "LoRA"),
        ({"h.0.weight": torch.ones(1, dtype=torch.int8)}, "dequantise"),
        ({"h.0.weight": torch.ones(1).to(torch.float8_e4m3fn)}, "dequantise"),
        ({"h.0.qweight": torch.ones(1, dtype=torch.int32)}, "dequantise"),
        ({"h.0.weight": torch.ones(1, dtype=torch.complex64)}, "no 16, 32 or 64 bit floats"),
    ],
)
def test_what_is_no_whole_state_dict_is_refused(saved: object, says: str) -> None:
    material.refused(lambda: extract_state_dict(saved, "f.pt"), 3, "f.pt", says)


def test_buffers_that_models_build_themselves() -> None:
    for key in ("h.0.attn.bias", "h.3.attn.masked_bias", "embeddings.position_ids", "rotary_emb.inv_freq"):
        assert is_derived(key)
    for key in ("h.0.attn.c_attn.bias", "cls.predictions.bias", "attention.bias.weight"):
        assert not is_derived(key)
