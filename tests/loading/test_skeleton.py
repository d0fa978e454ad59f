import pytest
import torch
from tests.loading import material

from heedful.loading.model_config import plan_model
from heedful.loading.skeleton import build_skeleton, is_too_large

GPT2 = {
    "model_type": "gpt2",
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 16,
    "vocab_size": 50,
    "architectures": ["GPT2LMHeadModel"],
}


def test_size_and_keys_are_those_of_the_model() -> None:
    skeleton = build_skeleton(plan_model({**GPT2, "n_positions": 8}, "c"), "c")
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=8))
    assert skeleton.parameters == sum(p.numel() for p in model.parameters())
    assert skeleton.shapes == {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert frozenset({"lm_head.weight", "transformer.wte.weight"}) in skeleton.groups
    skeleton.ensure_fits(torch.float32, "cpu", "c")


@pytest.mark.parametrize(
    "change", [{"vocab_size": 10**12}, {"n_positions": 10**12}, {"n_embd": 10**9}, {"n_inner": 10**15}]
)
def test_sizes_beyond_memory_are_refused_before_allocation(change: dict[str, int]) -> None:
    def build() -> None:
        plan = plan_model({**GPT2, **change}, "c.json")
        build_skeleton(plan, "c.json").ensure_fits(torch.float32, "cpu", "c.json")

    material.refused(build, 4, "c.json", "correct the config", seconds=5)


@pytest.mark.parametrize(
    "change", [{"n_head": 3}, {"n_head": 0}, {"n_embd": -16}, {"activation_function": "evil"}, {"vocab_size": -1}]
)
def test_configs_that_fit_no_model_are_refused(change: dict[str, object]) -> None:
    material.refused(lambda: build_skeleton(plan_model({**GPT2, **change}, "c"), "c"), 3)


def test_errors_of_size_are_told_from_others() -> None:
    assert is_too_large(MemoryError()) and is_too_large(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not is_too_large(ValueError("heads do not divide"))
