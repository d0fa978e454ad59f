"""A tracked training is the training; what it records is what the model did, at the steps that were asked for."""

from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from tests.monitoring.tracker.material import batches, qwen, train
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, Phi3Config, Phi3ForCausalLM
from transformers.modeling_utils import AttentionInterface

from heedful.errors import OutputError, UsageError
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.table import TrackTable, read_table
from heedful.monitoring.vectors.vectors import Sample


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_losses_weights_and_random_state_are_those_without(tmp_path: Path) -> None:
    outcomes = []
    for out in (None, tmp_path):
        model = qwen(attention_dropout=0.2)
        table = dict(AttentionInterface._global_mapping)
        torch.manual_seed(1)
        losses, lines = train(model, 5, out=out)
        outcomes.append((losses, torch.get_rng_state(), torch.cat([p.detach().flatten() for p in model.parameters()])))
        assert len(lines) == (3 if out else 0)
        assert hooks(model) == 0 and dict(AttentionInterface._global_mapping) == table
    assert outcomes[0][0] == outcomes[1][0]
    assert torch.equal(outcomes[0][1], outcomes[1][1]) and torch.equal(outcomes[0][2], outcomes[1][2])


def test_what_is_recorded_is_what_the_model_did(tmp_path: Path) -> None:
    model = qwen()
    met: dict[str, torch.Tensor] = {}
    handle = model.model.layers[1].self_attn.k_norm.register_forward_hook(
        lambda m, a, out: met.setdefault("key", out.detach().clone())
    )
    losses, lines = train(model, 1, out=tmp_path)
    handle.remove()
    table = read_table(tmp_path)
    assert set(table["step"]) == {1} and all(len(line) <= 80 for line in lines)
    keys = table.filter((polars.col("part") == "key") & (polars.col("layer") == 1)).sort("head")
    norms = met["key"].norm(dim=-1).mean((0, 1)).tolist()
    for stage in ("before", "after"):
        assert keys.filter(polars.col("stage") == stage)["norm_mean"].to_list() == pytest.approx(norms, rel=1e-5)
    assert keys["centred_cosine"].is_not_null().all()
    raw = {s: keys.filter(polars.col("stage") == s)["effective_rank"].to_list() for s in ("before", "after")}
    assert raw["before"] != raw["after"]
    step = table.filter(polars.col("part") == "step")
    assert step["loss"].to_list() == pytest.approx(losses)
    attention = table.filter(polars.col("part") == "attention")
    assert len(attention) == 8 and attention["label"].is_not_null().all()
    assert attention["entropy_share"].is_between(0, 1).all() and attention["logit_sd"].is_not_null().all()


def test_gradients_of_heads_are_whole(tmp_path: Path) -> None:
    model = qwen()
    found: list[float] = []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with AttentionTracker(model, out=tmp_path, optimizer=optimizer, write=lambda line: None) as tracker:
        loss = model(input_ids=batches(1)[0], labels=batches(1)[0]).loss
        loss.backward()
        found += [float(model.model.layers[0].self_attn.o_proj.weight.grad.norm())]
        found += [float(torch.stack([p.grad.norm() for p in model.parameters()]).norm())]
        optimizer.step()
        optimizer.zero_grad()
        tracker.step(loss)
    table = read_table(tmp_path)
    heads = table.filter((polars.col("part") == "output_weight") & (polars.col("layer") == 0))["gradient_norm"]
    assert len(heads) == 4 and float((heads**2).sum()) ** 0.5 == pytest.approx(found[0], rel=1e-5)
    assert table.filter(polars.col("part") == "step")["gradient_norm"].item() == pytest.approx(found[1], rel=1e-5)


def test_gains_and_the_curve_of_decay_alone(tmp_path: Path) -> None:
    model = qwen()
    train(model, 4, out=tmp_path, every=4)
    rows = read_table(tmp_path).filter((polars.col("part") == "key_gain") & (polars.col("step") == 4))
    assert rows["gain_decay"].to_list() == pytest.approx([8**0.5 * (1 - 1e-2 * 0.1) ** 4] * 2, rel=1e-5)
    own = [float(layer.self_attn.k_norm.weight.detach().norm()) for layer in model.model.layers]
    assert rows["gain_norm"].to_list() == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_and_accumulation_and_evaluation_are_not_counted_twice(tmp_path: Path, reentrant: bool) -> None:
    model = qwen()
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    ids = batches(3, batch=2)
    with AttentionTracker(model, out=tmp_path, write=lambda line: None) as tracker:
        model.eval()
        with torch.no_grad():
            model(input_ids=torch.cat([ids[2], ids[2]]))
        model.train()
        for part in ids[:2]:  # both parts of the step
            model(input_ids=part, labels=part).loss.backward()
        tracker.step(1.0)
    rows = read_table(tmp_path).filter(polars.col("part") == "key")
    assert rows["vectors"].to_list() == [2 * 2 * 48] * 8 and sorted(set(rows["layer"])) == [0, 1]


def test_bfloat16_autocast_is_left_as_it_is(tmp_path: Path) -> None:
    losses = []
    for out in (None, tmp_path):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses.append(train(qwen(), 3, out=out)[0])
    assert losses[0] == losses[1]
    assert {"before", "after"} <= set(read_table(tmp_path)["stage"])


def test_unscaled_gradients_are_recorded(tmp_path: Path) -> None:
    norms = []
    for scale in (1.0, 1024.0):
        model = qwen()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        with AttentionTracker(
            model, out=tmp_path / str(scale), optimizer=optimizer, write=lambda line: None
        ) as tracker:
            loss = model(input_ids=batches(1)[0], labels=batches(1)[0]).loss
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            tracker.step(loss)
        norms.append(read_table(tmp_path / str(scale)).filter(polars.col("part") == "step")["gradient_norm"].item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def phi() -> nn.Module:
    return Phi3ForCausalLM(
        Phi3Config(
            vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=48, pad_token_id=0,
        )
    )  # fmt: skip


def neox() -> nn.Module:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=4, bos_token_id=0, eos_token_id=0))


@pytest.mark.parametrize(("build", "stages"), [(phi, 2), (neox, 2), (gpt2, 1)])
def test_joint_projections_and_models_without_rotation(build: Any, stages: int, tmp_path: Path) -> None:
    train(build().train(), 1, out=tmp_path)
    table = read_table(tmp_path)
    assert table.filter(polars.col("part") == "key")["stage"].n_unique() == stages
    notes = table.filter(polars.col("part") == "note")["note"].to_list()
    assert (
        notes == []
        if stages == 2
        else ["before rotation: not measured, its queries and keys are not rotated" in notes[0]]
    )


def test_a_forward_that_raises_leaves_no_hook(tmp_path: Path) -> None:
    model = qwen()
    table = dict(AttentionInterface._global_mapping)
    model.model.layers[1].mlp.register_forward_pre_hook(lambda m, a: (_ for _ in ()).throw(ValueError("planted")))
    with AttentionTracker(model, out=tmp_path), pytest.raises(ValueError, match="planted"):
        model(input_ids=batches(1)[0])
    assert hooks(model) == 1 and dict(AttentionInterface._global_mapping) == table


def test_a_smaller_sample_measures_less(tmp_path: Path) -> None:
    train(qwen(), 1, out=tmp_path, sample=Sample(sequences=2, positions=24))
    assert set(read_table(tmp_path).filter(polars.col("part") == "key")["vectors"]) == {2 * 24}


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every: expected at least 1, got 0"):
        AttentionTracker(out=tmp_path, every=0)
    with pytest.raises(UsageError, match="belongs inside"):
        AttentionTracker(out=tmp_path).step(1.0)


def test_a_full_disk_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr(TrackTable, "add_all", full)
    losses, lines = train(qwen(), 2, out=tmp_path)
    assert len(losses) == 2 and lines[0] == "step 1 is not in the table: no space left"
