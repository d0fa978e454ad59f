"""The reference decoder against transformers' own, its cache, its file, its gradients and what capture sees of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import heedful
from heedful.loading.loaded_model import load_model
from heedful.training.model.attention.softmax import VARIANTS, SoftmaxAttention
from heedful.training.model.decoder import HeedfulDecoderForCausalLM, HeedfulDecoderModel
from heedful.training.model.decoder_config import PRESETS, HeedfulDecoderConfig

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": None,
}
TWINS = {False: (LlamaConfig, LlamaForCausalLM), True: (Qwen3Config, Qwen3ForCausalLM)}


def decoder(implementation: str = "sdpa", **other: Any) -> HeedfulDecoderForCausalLM:
    """Weights large enough that attention is not uniform, gains that differ from one."""
    torch.manual_seed(5)
    config = HeedfulDecoderConfig(**(SIZES | other))
    model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0) if parameter.dim() > 1 else parameter.uniform_(0.5, 1.5)
    return model.eval()


def tokens(batch: int = 2, length: int = 20) -> Tensor:
    return torch.randint(2, 61, (batch, length), generator=torch.Generator().manual_seed(6))


def in_double(model: nn.Module) -> nn.Module:
    """The same, its norms in float64 too, which transformers takes in float32."""
    for name, module in list(model.named_modules()):
        if type(module).__name__ in ("LlamaRMSNorm", "Qwen3RMSNorm"):
            exact = nn.RMSNorm(module.weight.shape[0], eps=module.variance_epsilon)
            exact.weight = module.weight
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, exact)
    return model.double()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_logits_are_those_of_llama_and_qwen3(qk_norm: bool, tied: bool, implementation: str) -> None:
    ours = decoder(implementation, qk_norm=qk_norm, tie_word_embeddings=tied)
    kind, build = TWINS[qk_norm]
    twin = build._from_config(kind(**SIZES, tie_word_embeddings=tied), attn_implementation=implementation).eval()
    twin.load_state_dict(ours.state_dict())
    mask = torch.ones(2, 20, dtype=torch.int64)
    mask[1, :7] = 0
    with torch.no_grad():
        for given in ({}, {"attention_mask": mask}):
            one, other = ours(tokens(), **given).logits, twin(tokens(), **given).logits
            assert one.std() > 0.1
            torch.testing.assert_close(one, other, rtol=0, atol=2e-5 * one.abs().max().item())
        if implementation == "sdpa":  # transformers' eager softmax is float32
            one, other = ours.double()(tokens()).logits, in_double(twin)(tokens()).logits
            assert one.dtype == torch.float64
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * one.abs().max().item())


def test_eager_is_sdpa_and_shows_its_weights() -> None:
    one, other = decoder("sdpa"), decoder("eager")
    with torch.no_grad():
        shown = other(tokens(), output_attentions=True, output_hidden_states=True)
        torch.testing.assert_close(one(tokens()).logits, shown.logits, rtol=1e-4, atol=1e-4)
    weights = torch.stack(shown.attentions)
    assert weights.shape == (3, 2, 4, 20, 20)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 4, 20))
    assert not weights.triu(1).any()
    assert len(shown.hidden_states) == 4
    torch.testing.assert_close(other.lm_head(shown.hidden_states[-1]), shown.logits)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generation_with_a_cache_is_generation_without(cache: str) -> None:
    model, start = decoder(), tokens(2, 6)
    settings = {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0, "min_new_tokens": 9}
    mask = torch.ones_like(start)
    mask[1, :3] = 0
    plain = model.generate(start, attention_mask=mask, use_cache=False, **settings)
    kept = model.generate(start, attention_mask=mask, cache_implementation=cache, disable_compile=True, **settings)
    assert plain.shape == (2, 15)
    assert torch.equal(plain, kept)
    assert len(set(plain[0, 6:].tolist())) > 2


@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded_it_is_the_same(tied: bool, tmp_path: Path) -> None:
    model = decoder(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is HeedfulDecoderConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is HeedfulDecoderModel
    loaded = load_model(tmp_path)
    for again in (AutoModelForCausalLM.from_pretrained(tmp_path), loaded.model):
        assert type(again) is HeedfulDecoderForCausalLM
        assert (again.lm_head.weight is again.model.embed_tokens.weight) is tied
        assert torch.equal(again(tokens()).logits, model(tokens()).logits)
    assert loaded.notes == ("no tokenizer.json, vocab.txt or vocab.json found",)


@pytest.mark.slow
def test_loading_needs_no_import_of_the_room(tmp_path: Path) -> None:
    decoder().save_pretrained(tmp_path)
    code = "import sys, heedful; assert 'heedful.training.model' not in sys.modules and 'torch' not in sys.modules\n"
    code += f"print(type(heedful.load_model({str(tmp_path)!r}).model).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "HeedfulDecoderForCausalLM\n"


def test_checkpointed_gradients_are_the_plain_ones() -> None:
    plain, again = decoder().train(), decoder().train()
    enable = getattr(again, "activation_checkpointing_enable", None) or again.gradient_checkpointing_enable
    enable()
    again.config.use_cache = False
    runs: list[int] = []
    again.model.layers[1].mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    for model in (plain, again):
        model(tokens(), labels=tokens()).loss.backward()
    assert len(runs) == 2
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert one.grad is not None and one.grad.abs().max() > 0, name
        torch.testing.assert_close(one.grad, other.grad)


def test_autocast_takes_norms_in_float32_and_stays_near() -> None:
    model = decoder()
    inputs: list[torch.dtype] = []
    model.model.layers[0].self_attn.q_norm.register_forward_hook(lambda _, given, __: inputs.append(given[0].dtype))
    with torch.no_grad():
        exact = model(tokens()).logits
        with torch.autocast("cpu", torch.bfloat16):
            near = model(tokens()).logits.float()
    assert inputs == [torch.float32, torch.bfloat16]
    assert 0 < (near - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_capture_meets_every_layer(implementation: str) -> None:
    model = decoder(implementation)
    proofs = heedful.verify(model, tokens())
    assert [proof.path for proof in proofs] == [f"model.layers.{i}.self_attn" for i in range(3)]
    assert all(proof.recomputed and proof.replaced and proof.heads == 4 for proof in proofs), proofs
    with heedful.capture(model) as session:
        model(tokens())
    assert session.heads().height == 12


def test_a_variant_named_by_the_config_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(SoftmaxAttention):
        def forward(self, hidden: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
            output, weights = super().forward(hidden, *args, **options)
            return output * 0, weights

    monkeypatch.setitem(VARIANTS, "silent", Silent)
    model = decoder(attention="silent")
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(type(layer.self_attn) is Silent for layer in again.model.layers)
    one, other = tokens(1), tokens(1)
    other[0, 0] += 1
    assert torch.equal(again(one).logits[0, 1:], again(other).logits[0, 1:])
    assert not torch.equal(decoder()(one).logits[0, 1:], decoder()(other).logits[0, 1:])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"attention": "linear"}, "attention 'linear': expected one of softmax"),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3: expected a divisor of the 4 query heads"),
        ({"head_dim": 5}, "head_dim = 5: expected an even number"),
        ({"hidden_size": 0}, "hidden_size = 0: expected a whole number from 1 on"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HeedfulDecoderForCausalLM(HeedfulDecoderConfig(**(SIZES | wrong)))
    with pytest.raises(ValueError, match="and not both"):
        decoder()(tokens(), inputs_embeds=torch.zeros(2, 20, 32))


@pytest.mark.parametrize(("name", "millions"), [("tiny", 0.131), ("small", 2.829), ("seed", 87.91)])
def test_presets_have_the_size_they_promise(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = HeedfulDecoderForCausalLM(PRESETS[name].config())
    assert model.num_parameters() / 1e6 == pytest.approx(millions, rel=0.01)
    config = PRESETS["seed"].config()
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.head_dim) == (
        512,
        22,
        8,
        64,
    )
    assert all(p.shape == (64,) for n, p in model.named_parameters() if n.endswith("k_norm.weight") and name == "seed")


def test_gains_are_not_decayed() -> None:
    """Weight decay on the gain of keys shrinks them whatever the text; the Trainer must know it for a norm."""
    from transformers import Trainer, TrainingArguments

    model = decoder()
    arguments = TrainingArguments(output_dir="unused", use_cpu=True, report_to="none")
    decayed = Trainer(model=model, args=arguments).get_decay_parameter_names(model)
    assert "model.layers.0.self_attn.q_proj.weight" in decayed
    assert not [name for name in decayed if "norm" in name]
