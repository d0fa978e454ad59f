"""Another pattern in place of the learned one, against a forward pass written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.interception.models import KernelModel, inputs_for, nano, result_of, tiny
from tests.interception.state import snapshot
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.errors import CaptureError, UsageError
from heedful.interception.replace import replace
from heedful.interception.session import capture

PATTERNS = ("uniform", "local", "mean", "shuffled", "zero")


def pattern_weights(pattern: str, learned: Tensor, seen: Tensor) -> Tensor:
    length = learned.shape[-1]
    near = (torch.arange(length)[:, None] - torch.arange(length)).abs() <= 5
    others = {
        "uniform": seen.float(),
        "local": (seen & near).float(),
        "mean": learned.sum(0, keepdim=True) - learned,
        "shuffled": learned.roll(1, dims=0),
        "zero": torch.zeros_like(learned),
    }
    weights = others[pattern] * seen
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)


def by_hand(model: Any, inputs: dict[str, Tensor], pattern: str, layers: set[int], heads: set[int]) -> Tensor:
    """Logits of a tiny Llama whose attention is written out, with some heads of some layers replaced."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    base = model.model
    x = base.embed_tokens(inputs["input_ids"])
    batch, length, _ = x.shape
    real = inputs["attention_mask"].bool()
    cos, sin = base.rotary_emb(x, torch.arange(length)[None])
    seen = (torch.ones(length, length).tril().bool() & real[:, None, :] & real[:, :, None])[:, None]
    for index, layer in enumerate(base.layers):
        normed, attention = layer.input_layernorm(x), layer.self_attn
        query, key, value = (
            projection(normed).view(batch, length, -1, 8).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        key, value = key.repeat_interleave(2, dim=1), value.repeat_interleave(2, dim=1)
        logits = (query @ key.transpose(-1, -2)) / 8**0.5
        weights = torch.softmax(logits.masked_fill(~seen, -1e30), dim=-1) * seen
        if index in layers:
            other = pattern_weights(pattern, weights, seen)
            chosen = torch.tensor([head in heads for head in range(4)])[:, None, None]
            weights = torch.where(chosen, other, weights)
        output = (weights @ value).transpose(1, 2).reshape(batch, length, -1)
        x = x + attention.o_proj(output)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return model.lm_head(base.norm(x))


@pytest.mark.parametrize("side", ["none", "right"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("layers", "heads"), [(None, None), ([1], None), (["model.layers.0.self_attn"], [0, 3]), (None, [2])]
)
def test_patterns_against_a_forward_by_hand(pattern: str, side: str, layers: Any, heads: Any) -> None:
    model, inputs = tiny("llama"), inputs_for("llama", side)
    with replace(model, pattern, layers=layers, heads=heads) as replaced:
        found = result_of(model, inputs).logits
    numbers = {0, 1} if layers is None else {1} if layers == [1] else {0}
    with torch.no_grad():
        expected = by_hand(model, inputs, pattern, numbers, set(range(4) if heads is None else heads))
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=2e-4)
    assert replaced == {f"model.layers.{number}.self_attn": 1 for number in sorted(numbers)}


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "vit", "albert"])
def test_a_replacement_changes_the_output_and_is_undone(name: str) -> None:
    """What a capture is believed for: taking its layers away shows."""
    model, inputs = tiny(name), inputs_for(name)
    before, plain = snapshot(model), result_of(model, inputs)[0]
    with replace(model, "zero"):
        changed = result_of(model, inputs)[0]
    assert not torch.allclose(changed, plain, atol=1e-2)
    assert torch.equal(result_of(model, inputs)[0], plain)
    assert snapshot(model) == before


def test_every_layer_counts() -> None:
    model, inputs = tiny("albert"), inputs_for("albert")
    with replace(model, "uniform") as replaced:
        result_of(model, inputs)
    assert list(replaced.values()) == [3]  # one shared module, called three times


def test_a_pattern_of_ones_own() -> None:
    model, inputs = tiny("llama"), inputs_for("llama")
    calls: list[AttentionCall] = []

    def first_value(call: AttentionCall) -> Tensor:
        calls.append(call)
        assert call.value is not None
        value = call.value.repeat_interleave(call.heads // call.kv_heads, dim=1)
        return value[:, :, :1].expand(-1, -1, call.n_queries, -1)

    with replace(model, first_value, heads=[1]):
        found = result_of(model, inputs).logits
    assert len(calls) == 2 and calls[0].heads == 4 and calls[0].kv_heads == 2
    assert not torch.allclose(found, result_of(model, inputs).logits, atol=1e-2)


def test_the_learned_output_of_ones_own_changes_nothing() -> None:
    from heedful.attention.engines.tiled import tiled

    model, inputs = tiny("gpt2"), inputs_for("gpt2", "left")
    with replace(model, lambda call: tiled(call).output):  # type: ignore[arg-type, return-value]
        found = result_of(model, inputs).logits
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], result_of(model, inputs).logits[real], rtol=1e-4, atol=1e-4)


def test_a_pattern_of_another_shape_is_refused() -> None:
    model, inputs = tiny("llama"), inputs_for("llama")
    before = snapshot(model)
    with (
        pytest.raises(UsageError, match=r"return shape \(3, 4, 24, 8\), got \(3, 24, 4, 8\)"),
        replace(model, lambda call: call.query.transpose(1, 2)),
    ):
        result_of(model, inputs)
    assert snapshot(model) == before


def test_refusals() -> None:
    model, inputs = tiny("gpt2"), inputs_for("gpt2")
    with pytest.raises(UsageError, match=r"expected one of uniform, local, .* got 'random'"), replace(model, "random"):
        pass
    unknown: list[list[int | str]] = [[5], ["transformer.h.7.attn"], [0, "nope"]]
    for layers in unknown:
        with pytest.raises(UsageError, match="no such layers"), replace(model, "zero", layers=layers):
            result_of(model, inputs)
    message = r"transformer\.h\.0\.attn has heads 0\.\.3, got \[4\]"
    with pytest.raises(UsageError, match=message), replace(model, "zero", heads=[1, 4]):
        result_of(model, inputs)


def test_a_model_that_is_not_met_is_not_silently_left_whole() -> None:
    model = KernelModel()
    message = r"KernelModel: replace: no attention call was captured in blocks"
    with pytest.raises(CaptureError, match=message), replace(model, "zero"):
        result_of(model, {"ids": torch.arange(20)[None]})


def test_a_call_that_is_not_understood_is_not_silently_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from heedful.interception.interceptors import huggingface

    model, inputs = tiny("gpt2"), inputs_for("gpt2")
    second, original = model.transformer.h[1].attn, huggingface.table_rules

    def picky(name: str, module: nn.Module, *rest: Any) -> Any:
        if module is second:
            raise CaptureError(name, "a mask of another form")
        return original(name, module, *rest)

    monkeypatch.setattr(huggingface, "table_rules", picky)
    for layers in (None, ["transformer.h.1.attn"]):
        with (
            pytest.raises(CaptureError, match=r"1 modules ran as they are: transformer\.h\.1\.attn: .*another form"),
            replace(model, "zero", layers=layers),
        ):
            result_of(model, inputs)
    with replace(model, "zero", layers=[0]) as replaced:
        result_of(model, inputs)
    assert replaced == {"transformer.h.0.attn": 1} and replaced.left == {}


def test_attention_that_showed_no_call_is_listed() -> None:
    model = nano()
    model.blocks[1] = KernelModel().blocks[0]
    with replace(model, "zero") as replaced:
        result_of(model, {"ids": torch.arange(20)[None]})
    assert replaced == {"blocks.0": 1} and "no attention call" in replaced.left["blocks.1"]


def test_a_block_without_a_forward_is_no_error() -> None:
    with replace(nano(), "zero", layers=[3]) as replaced:
        pass
    assert replaced == {}


def test_capture_inside_replace_measures_the_learned_weights() -> None:
    model, inputs = tiny("gpt2"), inputs_for("gpt2")
    with capture(model) as alone:
        result_of(model, inputs)
    with replace(model, "zero", layers=[1]), capture(model) as session:
        result_of(model, inputs)
    assert session.heads()["row_entropy"].to_list() == alone.heads()["row_entropy"].to_list()
    assert session.heads()["verified"].to_list() == [True] * 4 + [False] * 4


def test_heads_by_layer_are_those_heads_of_those_layers_alone() -> None:
    model = tiny("llama")
    inputs = inputs_for(model)
    with replace(model, "zero", layers=0, heads=1), replace(model, "zero", layers=[1], heads=[2]):
        wanted = result_of(model, inputs).logits
    with replace(model, "zero", heads={0: [1], 1: 2}) as replaced:
        found = result_of(model, inputs).logits
    assert torch.equal(found, wanted) and len(replaced) == 2
    with replace(model, "zero", heads={1: [2]}) as replaced:
        assert not torch.equal(result_of(model, inputs).logits, wanted)
    assert list(replaced) == ["model.layers.1.self_attn"]


def test_weights_as_a_pattern_are_used_as_they_are() -> None:
    model = tiny("llama")
    inputs = inputs_for(model)
    length = inputs["input_ids"].shape[1]
    uniform = torch.ones(length, length).tril()
    uniform /= uniform.sum(-1, keepdim=True)
    ids = {"input_ids": inputs["input_ids"]}
    with replace(model, "uniform", layers=1, heads=[0, 2]):
        wanted = result_of(model, ids).logits
    for weights in (uniform, uniform.numpy(), uniform.double()[None, None]):
        with replace(model, weights, layers=1, heads=[0, 2]):
            torch.testing.assert_close(result_of(model, ids).logits, wanted)
    with capture(model) as session:
        plain = result_of(model, ids).logits
    own = torch.stack([session.weights(0, head) for head in range(4)])
    one = {"input_ids": inputs["input_ids"][:1]}
    with replace(model, own, layers=0):
        torch.testing.assert_close(result_of(model, one).logits, plain[:1], atol=1e-4, rtol=1e-3)
    with pytest.raises(UsageError, match="expected weights that broadcast"), replace(model, torch.ones(3, 3)):
        model(**ids)
    with pytest.raises(UsageError, match=r"float tensor, got torch\.bool"), replace(model, uniform > 0):
        model(**ids)
