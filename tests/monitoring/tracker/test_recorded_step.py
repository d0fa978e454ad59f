"""What a recorded step holds, against loops over whole weights; the same whichever way the step was computed."""

import math
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from tests.monitoring.tracker.material import batches, qwen
from torch import nn
from transformers import GptOssConfig, GptOssForCausalLM

from heedful.attention.call import AttentionCall
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import causal, documents
from heedful.interception.intercept import intercept
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.layer import attention_sums, brief_sums, largest_logit, strongest_mass
from heedful.monitoring.tracker.table import read_table
from heedful.monitoring.vectors.vectors import Sample

HEADS = ("max_logit", "row_entropy", "entropy_min", "concentration", "sink_mass", "strongest_mass", "is_sink")
VECTORS = ("norm_mean", "global_max", "effective_rank")


@torch.no_grad()
def by_loops(call: AttentionCall) -> dict[str, torch.Tensor]:
    """The numbers of each head from whole weights in float64, one row at a time."""
    batch, heads, rows, keys = call.batch, call.heads, call.n_queries, call.n_keys
    seen = call.visibility.block(0, rows, 0, keys, rows, keys, torch.device("cpu")).expand(batch, heads, rows, keys)
    first = call.visibility.own_first_key(batch, rows, keys, torch.device("cpu"))
    found = {name: torch.full((heads,), math.nan, dtype=torch.float64) for name in HEADS}
    for head in range(heads):
        logit, least, entropies, sinks, tops = -math.inf, math.inf, [], [], []
        for sequence in range(batch):
            received, seen_by, entropy, sink = torch.zeros(keys).double(), torch.zeros(keys), [], []
            for row in range(rows):
                at = seen[sequence, head, row].nonzero()[:, 0]
                key = call.key[sequence, head // (heads // call.kv_heads), at].double()
                logits = key @ call.query[sequence, head, row].double() * call.scale
                logit = max(logit, float(logits.max()))
                room = logits.exp().sum() + (0.0 if call.sink is None else call.sink[head].double().exp())
                weights = logits.exp() / room
                received[at] += weights
                seen_by[at] += 1
                if len(at) >= 8:
                    entropy.append(float(-(weights * weights.log()).sum()))
                    sink.append(float(weights[at == first[sequence, row]]))
            least = min(least, *entropy)
            enough = (seen_by >= 8) & (4 * seen_by >= rows)
            tops.append(float((received[enough] / seen_by[enough]).max()))
            entropies.append(sum(entropy) / len(entropy))
            sinks.append(sum(sink) / len(sink))
        for name, value in {
            "max_logit": logit,
            "entropy_min": least,
            "row_entropy": sum(entropies) / batch,
            "sink_mass": sum(sinks) / batch,
            "strongest_mass": sum(tops) / batch,
        }.items():
            found[name][head] = value
    return found


def recorded(
    model: nn.Module, out: Path, *parts: torch.Tensor, every: int = 1, brief: int | None = None, **given: Any
) -> polars.DataFrame:
    """The table of one step, accumulated from the parts."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with AttentionTracker(
        model, out=out, every=every, brief_every=brief, optimizer=optimizer, write=lambda line: None, **given
    ) as tracker:
        for ids in parts:
            (model(input_ids=ids, labels=ids).loss / len(parts)).backward()
        optimizer.step()
        tracker.step(1.0)
    return read_table(out)


def columns(table: polars.DataFrame, part: str, names: tuple[str, ...], stage: str | None = None) -> list[list[float]]:
    rows = table.filter(polars.col("part") == part).sort("layer", "head")
    rows = rows if stage is None else rows.filter(polars.col("stage") == stage)
    return [rows[name].to_list() for name in names]


def near(values: list[list[float]]) -> list[Any]:
    return [pytest.approx(one, rel=2e-5, abs=1e-7) for one in values]


def test_heads_are_those_of_loops_over_whole_weights(tmp_path: Path) -> None:
    model, calls = qwen(), []
    with intercept(model, lambda event: calls.append(event.call)):
        model(input_ids=batches(1)[0])
    table = recorded(model, tmp_path, batches(1)[0])
    wanted = [by_loops(call) for call in calls]
    for name in HEADS[:3] + HEADS[4:6]:
        got = table.filter(polars.col("part") == "attention").sort("layer", "head")[name].to_list()
        assert got == pytest.approx(torch.cat([one[name] for one in wanted]).tolist(), rel=1e-5), name
    share = table.filter(polars.col("part") == "layer")["sink_head_share"].to_list()
    assert share == [float((one["sink_mass"] > 0.3).double().mean()) for one in wanted]


@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_learned_sinks_and_packed_documents_are_respected(sink: bool, packed: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, heads, 40, 8, generator=draw) * 3 for heads in (4, 2))
    visibility = documents(torch.tensor([[0] * 15 + [1] * 25, [0] * 22 + [1] * 18])) if packed else causal()
    call = AttentionCall(
        query=query, key=key, visibility=visibility, sink=torch.tensor([0.0, 1.0, 3.0, 9.0]) if sink else None
    )
    wanted, moments, found = by_loops(call), tiled(call, None), attention_sums(call)
    assert largest_logit(moments).tolist() == pytest.approx(wanted["max_logit"].tolist(), rel=1e-5)
    assert strongest_mass(moments).mean(0).tolist() == pytest.approx(wanted["strongest_mass"].tolist(), rel=1e-4)
    assert (-found.maxima["entropy_min"]).tolist() == pytest.approx(wanted["entropy_min"].tolist(), rel=1e-3, abs=1e-5)
    brief = brief_sums(call).within("attention/")
    assert torch.equal(brief.maxima["max_logit"], found.maxima["max_logit"])
    for name in brief.added:
        assert torch.allclose(brief.added[name], found.added[name]), name


def test_a_model_with_learned_sinks_and_windows_is_recorded(tmp_path: Path) -> None:
    config = GptOssConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=32, num_local_experts=2, num_experts_per_tok=1, sliding_window=16, bos_token_id=0,
        eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    table = recorded(GptOssForCausalLM(config).train(), tmp_path, batches(1)[0])
    assert all(value is not None for column in columns(table, "attention", HEADS) for value in column)


def test_eager_sdpa_accumulation_and_checkpointing_give_the_same_numbers(tmp_path: Path) -> None:
    ids = batches(1)[0]
    plain = recorded(qwen(), tmp_path / "plain", ids)
    eager = qwen()
    eager.set_attn_implementation("eager")
    kept = qwen()
    enable = getattr(kept, "activation_checkpointing_enable", None) or kept.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    others = {
        "eager": recorded(eager, tmp_path / "eager", ids),
        "accumulated": recorded(qwen(), tmp_path / "accumulated", ids[:1], ids[1:3], ids[3:]),
        "checkpointed": recorded(kept, tmp_path / "checkpointed", ids),
    }
    for name, table in others.items():
        for part, names, stage in (("attention", HEADS, None), ("key", VECTORS, "after"), ("query", VECTORS, "before")):
            assert columns(table, part, names, stage) == near(columns(plain, part, names, stage)), (name, part)
        assert table.filter(polars.col("part") == "key")["vectors"].to_list() == [4 * 48] * 8


def test_an_accumulated_step_stops_at_the_sample_and_a_part_of_it_is_cut(tmp_path: Path) -> None:
    ids = batches(1)[0]
    whole = recorded(qwen(), tmp_path / "whole", ids, sample=Sample(sequences=3))
    parts = recorded(qwen(), tmp_path / "parts", ids[:2], ids[2:], sample=Sample(sequences=3))
    assert set(parts.filter(polars.col("part") == "key")["vectors"]) == {3 * 48}
    assert columns(parts, "attention", HEADS) == near(columns(whole, "attention", HEADS))
    few = Sample(sequences=4, logits=2 * 4 * 48 * 48)
    whole = recorded(qwen(), tmp_path / "few", ids, sample=few)
    parts = recorded(qwen(), tmp_path / "fewer", ids[:2], ids[2:], sample=few)
    assert set(parts.filter(polars.col("part") == "attention")["sequences"]) == {2}
    assert columns(parts, "attention", HEADS) == near(columns(whole, "attention", HEADS))


def test_sizes_of_updates_are_those_of_the_weights(tmp_path: Path) -> None:
    model = qwen()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    table = recorded(model, tmp_path, batches(1)[0]).filter(polars.col("part") == "layer").sort("layer")
    for layer in range(2):
        for part, child in {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}.items():
            name = f"model.layers.{layer}.self_attn.{child}.weight"
            change = model.get_parameter(name).detach() - before[name]
            assert table[f"{part}_update_norm"][layer] == pytest.approx(float(change.norm()), rel=1e-5)
            assert table[f"{part}_update"][layer] == pytest.approx(float(change.norm() / before[name].norm()), rel=1e-5)


def test_a_brief_record_holds_the_same_numbers_of_fewer_things(tmp_path: Path) -> None:
    full = recorded(qwen(), tmp_path / "full", batches(1)[0], sample=Sample(sequences=2))  # half of the four
    model, ids = qwen(), batches(1)[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with AttentionTracker(
        model, out=tmp_path / "brief", every=3, brief_every=1, optimizer=optimizer, write=lambda line: None
    ) as tracker:
        for _ in range(3):
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tracker.step(loss)
            assert tracker.scalars["attention/step"] == tracker.steps
    table = read_table(tmp_path / "brief")
    assert table["step"].unique(maintain_order=True).to_list() == [1, 2, 3]
    second = table.filter(polars.col("step") == 2)
    assert set(second["part"]) == {"step", "attention", "layer"}
    names = ("max_logit", "row_entropy", "entropy_min", "sink_mass", "strongest_mass", "is_sink")
    assert columns(second, "attention", names) == near(columns(full, "attention", names))
    assert len(set(table.filter(polars.col("part") == "key")["step"])) == 2


def test_logits_that_are_not_finite_are_nan_and_alarmed(tmp_path: Path) -> None:
    model = qwen()
    with torch.no_grad():
        model.model.layers[1].self_attn.k_norm.weight[0] = math.inf
    optimizer, lines = torch.optim.SGD(model.parameters(), lr=1e-2), []
    with AttentionTracker(
        model, out=tmp_path, optimizer=optimizer, write=lines.append, stop_on="not_finite"
    ) as tracker:
        model(input_ids=batches(1)[0])
        tracker.step(1.0)
        assert tracker.should_stop and "attention/layer_01/max_logit" not in tracker.scalars
    assert any("ALARM not_finite" in line for line in lines)
