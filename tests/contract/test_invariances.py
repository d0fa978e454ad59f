"""Behaviour of numbers: experiments agree with the kernels on health, and show faults by themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contract.architectures import EXPERTS, SIZES, SPECIAL, batch_of, made
from tests.contract.planted import FAULTS, planted
from torch import nn

from heedful.contract.check import check
from heedful.contract.record import ContractReport, Judgement, Status

GROUPED, ROTARY = ("qwen3", "gemma3", "smollm3", "olmo2"), ("llama", "gemma2", "phi", "gpt_neox", "smollm3", "cohere2")
LATENT = {
    **SIZES,
    **EXPERTS,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
ALIBI = {
    "bloom": ("BloomForCausalLM", {"hidden_size": 64, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptForCausalLM", {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}),
    "falcon": (
        "FalconForCausalLM",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True, "multi_query": False},
    ),
}


def built(kind: str, cls: str, sizes: dict[str, Any], **more: Any) -> nn.Module:
    import transformers

    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(kind, **{**SPECIAL, "initializer_range": 0.1, **sizes})
    return getattr(transformers, cls)._from_config(config, **more).eval()


def said(report: ContractReport, promise: str) -> set[tuple[str, str]]:
    return {(one.kernel, one.behaviour) for one in report.of(promise)}


def first(report: ContractReport, promise: str) -> Judgement:
    return next(one for one in report.broken if one.promise == promise)


@pytest.mark.parametrize("name", sorted({*GROUPED, *ROTARY}))
def test_both_proofs_hold_on_health(name: str) -> None:
    report = check(made(name, "eager" if name == "gemma2" else "sdpa"), batch_of(name))
    assert said(report, "rotary") == said(report, "scale") == {("held", "held")}
    if name in GROUPED:
        assert said(report, "grouping") <= {("held", "held"), ("held", "")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("fault", "name", "promise"),
    [
        ("key heads tiled", "llama", "grouping"),
        ("scale squared", "llama", "scale"),
        ("another theta", "llama", "rotary"),
        ("positions halved", "llama", "rotary"),
        ("pairs of the other kind", "llama", "rotary"),
        ("queries not rotated", "llama", "rotary"),
        ("rotated where none is promised", "smollm3", "rotary"),
    ],
)
def test_kernel_and_behaviour_agree_on_faults(fault: str, name: str, promise: str) -> None:
    one = next(one for one in FAULTS if one.name == fault)
    with planted(one, name, "sdpa") as found:
        judged = first(check(found.model, found.batch, contract=found.contract), promise)
    assert (judged.kernel, judged.behaviour) == ("BROKEN", "BROKEN")


def test_behaviour_that_the_kernel_does_not_show_is_a_finding() -> None:
    """A module that gives its projections' true output to the check's text alone is caught by the experiment."""
    model = made("llama", "sdpa")
    rotary = model.model.rotary_emb  # type: ignore[union-attr]
    own = rotary.forward  # type: ignore[union-attr]
    # right for positions in order, wrong where two are exchanged: the table is read by index
    rotary.forward = lambda x, position_ids: own(x, position_ids.sort(-1).values)  # type: ignore[union-attr]
    report = check(model, batch_of("llama"))
    judged = first(report, "rotary")
    assert judged.status is Status.BROKEN and (judged.kernel, judged.behaviour) == ("held", "BROKEN")
    assert judged.breach is not None and judged.breach.proof == "swapped positions"
    assert "the proofs differ: kernel held, behaviour BROKEN" in str(report)


@pytest.mark.parametrize("name", sorted(ALIBI))
def test_slopes_of_alibi(name: str) -> None:
    found = said(check(built(name, *ALIBI[name]), batch_of("llama")), "alibi")
    assert found <= {("held", "held"), ("held", "")} and found


@pytest.mark.parametrize("name", ["bloom", "mpt"])
def test_slopes_of_other_heads_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from heedful.contract import alibi

    own = getattr(alibi, f"_of_{name}")
    monkeypatch.setattr(alibi, f"_of_{name}", lambda *given: own(*given)[::-1])
    judged = first(check(built(name, *ALIBI[name]), batch_of("llama")), "alibi")
    assert judged.layer == 0 and "head 0 has slope 0.25, promised 0.003906" in judged.found


def test_alibi_that_is_counted_twice_is_found() -> None:
    """transformers' eager Falcon adds its bias to the logits and to the mask; its sdpa counts it once."""
    eager = built("falcon", *ALIBI["falcon"], attn_implementation="eager")
    judged = first(check(eager, batch_of("llama")), "alibi")
    assert "head 0 has slope 0.125, promised 0.0625" in judged.found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "cls"), [("deepseek_v3", "DeepseekV3ForCausalLM"), ("deepseek_v2", "DeepseekV2ForCausalLM")]
)
def test_latent_heads(kind: str, cls: str) -> None:
    model = built(kind, cls, LATENT)
    report = check(model, batch_of("llama"))
    assert said(report, "rotary") == said(report, "scale") == {("held", "held")}
    module = model.model.layers[1].self_attn  # type: ignore[union-attr,index]
    module.scaling = 0.5  # type: ignore[union-attr,assignment]
    judged = first(check(model, batch_of("llama")), "scale")
    assert judged.path == "model.layers.1.self_attn" and judged.found == "0.5"


def test_positions_in_three_rows() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    model = built("qwen2_vl_text", "Qwen2VLTextModel", {**SIZES, "rope_parameters": rope})
    batch = batch_of("llama")
    assert said(check(model, batch), "rotary") == {("held", "held")}
    positions = torch.arange(44).expand(3, 2, -1).clone()
    assert said(check(model, {**batch, "position_ids": positions}), "rotary") == {("held", "held")}
    positions[1] += 5
    report = check(model, {**batch, "position_ids": positions})
    assert not report.of("rotary") and any(
        "positions of time, height and width differ" in one for one in report.undecided
    )
