import pytest
from tests.loading import material

from heedful.loading.model_config import plan_model, without_code

GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 50}


def test_the_architecture_named_is_built_and_no_kernel_is_chosen() -> None:
    plan = plan_model({**GPT2, "architectures": ["GPT2Model"], "torch_dtype": "bfloat16"}, "c")
    assert plan.model_class.__name__ == "GPT2Model" and plan.declared_dtype == "bfloat16"
    assert plan.config.n_layer == 2 and plan.config._attn_implementation is None and plan.notes == ()


@pytest.mark.parametrize(
    "architectures", [None, [], ["MyGPT"], ["pipeline"], ["BertModel"], ["os"], [7], "GPT2Model", ["x" * 500]]
)
def test_other_architectures_fall_back_to_a_causal_model_with_a_note(architectures: object) -> None:
    plan = plan_model({**GPT2, "architectures": architectures}, "c")
    assert plan.model_class.__name__ == "GPT2LMHeadModel" and "GPT2LMHeadModel built" in plan.notes[-1]


def test_an_encoder_without_architecture_has_a_class_too() -> None:
    assert plan_model({"model_type": "bert"}, "c").model_class.__name__ == "BertForMaskedLM"
    assert plan_model({"model_type": "deberta"}, "c").model_class.__name__ == "DebertaForMaskedLM"


def test_a_config_without_type_is_told_by_its_architecture() -> None:
    assert type(plan_model({"architectures": ["BertModel"]}, "c").config).__name__ == "BertConfig"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model_type": "my-gpt"}, "unknown model_type 'my-gpt'"),
        ({"model_type": ["gpt2"]}, "unknown model_type"),
        ({"model_type": "gpt2\x1b[2J"}, "\\x1b"),
        ({}, "expected a model_type"),
        ({**GPT2, "quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({**GPT2, "n_layer": "two"}, "no config of a gpt2"),
        ({**GPT2, "id2label": 3}, "no config of a gpt2"),
    ],
)
def test_what_transformers_has_no_class_for_is_refused(settings: dict[str, object], says: str) -> None:
    material.refused(lambda: plan_model(settings, "c.json"), 3, "c.json", says)


@pytest.mark.parametrize(
    "key", ["n_layer", "num_hidden_layers", "encoder_layers", "num_experts", "n_routed_experts", "num_labels"]
)
def test_counts_that_would_never_end_are_refused(key: str) -> None:
    material.refused(lambda: plan_model({**GPT2, key: 10**9}, "c"), 4, key, seconds=1)
    material.refused(lambda: plan_model({**GPT2, "text_config": [{key: 1e30}]}, "c"), 4, key, seconds=1)


def test_keys_that_choose_code_are_dropped_at_every_depth() -> None:
    settings = {
        "auto_map": {"AutoModel": "evil.Evil"},
        "attn_implementation": "attacker/kernel",
        "_attn_implementation_internal": "attacker/kernel",
        "n_layer": 2,
        "text_config": {"trust_remote_code": True, "hidden_size": 4, "_name_or_path": "x"},
        "list": [{"_target_": "os.system"}],
        "experts_implementation": "x",
        "__class__": "x",
    }
    clean, dropped = without_code(settings)
    assert clean == {"n_layer": 2, "text_config": {"hidden_size": 4}, "list": [{}]}
    assert set(dropped) == {
        "auto_map", "attn_implementation", "_attn_implementation_internal", "trust_remote_code", "_target_",
        "experts_implementation",
    }  # fmt: skip


def test_a_dtype_that_is_another_attribute_of_torch_is_not_looked_up() -> None:
    plan = plan_model({**GPT2, "dtype": "load", "torch_dtype": "hub"}, "c")
    assert plan.declared_dtype is None and getattr(plan.config, "dtype", None) is None


@pytest.mark.parametrize(
    ("more", "built"), [({}, "BertForMaskedLM"), ({"is_decoder": True}, "BertLMHeadModel")], ids=["encoder", "decoder"]
)
def test_a_class_of_the_users_own_becomes_the_head_that_fits_what_it_sees(more: dict[str, object], built: str) -> None:
    plan = plan_model({"model_type": "bert", "architectures": ["AntiBody"], **more}, "c")
    assert plan.model_class.__name__ == built and "AntiBody" in plan.notes[-1]
