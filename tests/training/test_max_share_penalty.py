"""The penalty: its closed form on keys of a model, what its gradient reaches, and runs with it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    TrainingArguments,
)

from heedful.errors import UsageError
from heedful.loading.documents import Documents
from heedful.training import run_trainer
from heedful.training.decoder_run import train_decoder
from heedful.training.max_share_penalty import MaxSharePenalty, TableTrainer, smooth_peak_share
from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.model.decoder_config import HeedfulDecoderConfig
from heedful.training.run_settings import RunSettings

SETTINGS = RunSettings(steps=6, save_every=2, batch=2, length=16, vocabulary=270, max_share_penalty=0.5)
IDS = torch.arange(12).view(2, 6)


def decoder(layers: int = 1, **other: Any) -> HeedfulDecoderForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    return HeedfulDecoderForCausalLM(HeedfulDecoderConfig(num_hidden_layers=layers, **sizes, **other))


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=16))


def llama() -> nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2)
    )  # fmt: skip


def keys_of(model: nn.Module) -> list[torch.Tensor]:
    """Keys before rotation, ``(..., dim)``, by hooks of our own."""
    met: list[torch.Tensor] = []
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if last == "k_norm" or (last == "k_proj" and not any("k_norm" in n for n, _ in model.named_modules())):
            module.register_forward_hook(lambda m, a, out: met.append(out.detach()))
        if last == "c_attn":
            module.register_forward_hook(lambda m, a, out: met.append(out.detach().chunk(3, -1)[1]))
    model(input_ids=IDS)
    return met


@pytest.mark.parametrize(("make", "dim"), [(lambda: decoder(2), 8), (llama, 4), (gpt2, 8)])
def test_it_is_the_mean_crest_of_a_models_keys(make: Any, dim: int) -> None:
    model = make().eval()
    with MaxSharePenalty(model) as penalty:
        model(input_ids=IDS)
        found = penalty.take()
    expected = torch.stack([smooth_peak_share(k if k.shape[-1] == dim else k.unflatten(-1, (-1, dim))).mean()
                            for k in keys_of(model)]).mean()  # fmt: skip
    assert torch.isclose(found, expected) and found.requires_grad and 1 < float(found.detach()) < dim**0.375


def test_equal_keys_have_a_penalty_of_one() -> None:
    model = decoder()
    model.model.layers[0].self_attn.k_norm.register_forward_hook(lambda m, a, out: torch.ones_like(out) + 0 * out)
    with MaxSharePenalty(model) as penalty:
        model(input_ids=IDS)
        assert abs(float(penalty.take().detach()) - 1) < 1e-5


def test_its_gradient_reaches_keys_and_what_they_are_made_of() -> None:
    model = decoder()
    with MaxSharePenalty(model) as penalty:
        model(input_ids=IDS)
        penalty.take().backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    layer = "model.layers.0."
    assert reached == {
        f"{layer}self_attn.k_proj.weight",
        f"{layer}self_attn.k_norm.weight",
        f"{layer}input_layernorm.weight",
        "model.embed_tokens.weight",
    }


def test_descent_on_it_spreads_keys() -> None:
    model = decoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    found = []
    with MaxSharePenalty(model) as penalty:
        for _ in range(20):
            model(input_ids=IDS)
            loss = penalty.take()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(float(loss.detach()))
    assert found[-1] < 0.9 * found[0]


def test_padding_is_left_out() -> None:
    model = decoder(2).eval()
    mask = torch.ones_like(IDS)
    mask[:, 4:] = 0
    with MaxSharePenalty(model) as penalty:
        model(input_ids=IDS)
        padded = penalty.take(mask)
        model(input_ids=IDS[:, :4])  # causal: the first keys do not know the later ones
        assert torch.isclose(padded, penalty.take())
        model(input_ids=IDS)
        assert not torch.isclose(padded, penalty.take())


def test_nothing_stays_after_it_and_nothing_is_met_without_gradients() -> None:
    model = decoder()
    with MaxSharePenalty(model) as penalty:
        with torch.no_grad():
            model(input_ids=IDS)
        with pytest.raises(UsageError, match="no keys were captured"):
            penalty.take()
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(UsageError, match="no attention module"):
        MaxSharePenalty(nn.Linear(2, 2))
    joined = GPTNeoXConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(UsageError, match="no attention module"):
        MaxSharePenalty(GPTNeoXForCausalLM(joined))


@pytest.fixture(scope="module")
def documents() -> Documents:
    draw = random.Random(1)
    words = ["and", "the", "king", "of", "israel", "went", "up", "unto", "him", "behold"]
    texts = tuple(" ".join(draw.choices(words, k=40)) for _ in range(24))
    return Documents(names=tuple(f"d{i}" for i in range(24)), texts=texts, origin="made up")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def stopping_at(step: int) -> Any:
    def progress(done: int, _steps: int, _what: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_with_it_goes_on_bitwise_and_is_another_than_without(
    accumulation: int, documents: Documents, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, accumulation=accumulation, gradient_checkpointing=accumulation == 2)
    train_decoder(settings, documents, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_decoder(settings, documents, tmp_path / "run", progress=stopping_at(3))
    with pytest.raises(UsageError, match=r"begun with max_share_penalty 0\.5, now 0\.0"):
        train_decoder(replace(settings, max_share_penalty=0.0), documents, tmp_path / "run", resume=True)
    train_decoder(settings, documents, tmp_path / "run", resume=True)
    assert same(tmp_path / "run", tmp_path / "whole")
    train_decoder(replace(settings, max_share_penalty=0.0), documents, tmp_path / "plain")
    assert not same(tmp_path / "plain", tmp_path / "whole")


def test_without_weight_a_run_is_the_plain_one_bitwise(
    documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_decoder(replace(SETTINGS, max_share_penalty=0.0), documents, tmp_path / "none")
    plain = RunSettings(steps=6, save_every=2, batch=2, length=16, vocabulary=270)
    monkeypatch.delattr(run_trainer, "PenalisedTrainer")  # a plain run knows nothing of it
    train_decoder(plain, documents, tmp_path / "plain")
    assert same(tmp_path / "none", tmp_path / "plain")


def _by_descent(trainer: Any) -> None:
    """Steps as long as the gradient, from the first step on."""
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 1.0)


def test_parts_of_a_step_weigh_as_the_whole_step_does(documents: Documents, tmp_path: Path) -> None:
    """Two parts of two windows and one of four: the same windows, the same loss, the same penalty."""
    whole = replace(SETTINGS, steps=1, batch=4, max_share_penalty=5.0)
    parts = replace(whole, batch=2, accumulation=2)
    for name, settings in (("whole", whole), ("parts", parts), ("half", replace(whole, max_share_penalty=2.5))):
        train_decoder(settings, documents, tmp_path / name, prepare=_by_descent)
    one, two, half = (weights(tmp_path / name) for name in ("whole", "parts", "half"))
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert apart < 1e-5 < 1e-4 < max(float((one[name] - half[name]).abs().max()) for name in one)


def test_held_out_losses_are_without_it(documents: Documents, tmp_path: Path) -> None:
    """The first evaluation follows one step at a rate of 0: the same weights, so the same loss."""
    losses = []
    for name, weight in (("plain", 0.0), ("heavy", 100.0)):
        settings = replace(SETTINGS, steps=1, learning_rate=0.0, max_share_penalty=weight)
        losses.append(train_decoder(settings, documents, tmp_path / name)["held_out_loss"])
        entries = json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        losses.append(next(entry["eval_loss"] for entry in entries if "eval_loss" in entry))
    assert losses[0] == losses[2] and losses[1] == losses[3]


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(weight: float) -> None:
    with pytest.raises(UsageError, match="max_share_penalty"):
        RunSettings(max_share_penalty=weight)


class Normed(nn.Module):
    """A matrix, a gain that gets no gradient to speak of, and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.norm = nn.RMSNorm(4)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": self.dense(x).square().mean() + 0.0 * self.norm(x).sum()}


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_only_gains_follow_their_own_decay(decay: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = {"max_steps": 5, "learning_rate": 0.1, "weight_decay": 0.1, "lr_scheduler_type": "constant"}
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    data = [{"x": row, "labels": row} for row in torch.randn(16, 4)]
    run = TableTrainer(
        model=Normed(), args=TrainingArguments(output_dir=str(tmp_path), **given, **quiet), train_dataset=data
    )
    run.gain_weight_decay = decay
    run.train()
    norm = float(run.model.norm.weight.detach().norm())
    assert norm == pytest.approx(2 * (1 - 0.1 * decay) ** 5, rel=1e-6)
    found = {id(p): group["weight_decay"] for group in run.optimizer.param_groups for p in group["params"]}
    named = {name: found[id(p)] for name, p in run.model.named_parameters()}
    assert named == {"dense.weight": 0.1, "dense.bias": 0.0, "norm.weight": decay}


@pytest.mark.parametrize("dim", [4, 64])
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_equal_components_have_one_and_a_single_one_the_most(dim: int, length: float) -> None:
    equal = length * torch.tensor([1.0, -1.0]).repeat(dim // 2)
    alone = length * torch.eye(dim)[2]
    assert torch.isclose(smooth_peak_share(equal), torch.tensor(1.0), rtol=1e-4)
    assert torch.isclose(smooth_peak_share(alone), torch.tensor(dim**0.375), rtol=1e-4)
    assert torch.isclose(smooth_peak_share(alone, order=4), torch.tensor(dim**0.25), rtol=1e-4)


def test_a_gaussian_direction_has_the_eighth_root_of_105() -> None:
    drawn = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert abs(float(smooth_peak_share(drawn).mean()) - 105**0.125) < 0.02


def test_it_is_computed_in_float32_at_least_and_vector_by_vector() -> None:
    vectors = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0))
    assert smooth_peak_share(vectors.bfloat16()).dtype == torch.float32 and smooth_peak_share(vectors).shape == (
        2,
        3,
        5,
    )
    assert torch.allclose(smooth_peak_share(vectors)[1, 2, 4], smooth_peak_share(vectors[1, 2, 4]))


def test_its_gradient_is_right_takes_from_the_largest_and_is_finite_at_zero() -> None:
    values = torch.tensor([3.0, -1.0, 0.5, 0.2], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(smooth_peak_share, values)
    smooth_peak_share(values).backward()
    assert values.grad is not None and values.grad[0] > 0 and (values.grad[1:] * values.detach()[1:] < 0).all()
    nothing = torch.zeros(4, requires_grad=True)
    smooth_peak_share(nothing).backward()
    assert (
        float(smooth_peak_share(nothing.detach())) < 1e-3
        and nothing.grad is not None
        and bool((nothing.grad == 0).all())
    )


@pytest.mark.parametrize("order", [2, 7, 0])
def test_orders_that_are_no_even_number_above_two_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match="even number above 2"):
        smooth_peak_share(torch.ones(4), order)
