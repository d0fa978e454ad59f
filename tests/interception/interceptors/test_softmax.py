"""Modules that write their attention out: what they return as weights is what is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from tests.interception.models import SMALL, VOCABULARY, inputs_for, result_of
from tests.interception.state import snapshot
from tests.oracles.attention_statistics import head_statistics
from torch import Tensor, nn

from heedful.errors import UsageError
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept
from heedful.interception.replace import replace
from heedful.interception.session import capture
from heedful.training.model.language_head import CACHE

OLD: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 1}
GPT: dict[str, Any] = {**OLD, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
ENCODER: dict[str, Any] = {**SMALL, "intermediate_size": 48, "max_position_embeddings": 64}

CONFIGS: dict[str, Callable[[], Any]] = {
    "bloom": lambda: transformers.BloomConfig(**OLD, hidden_size=32, n_layer=2, n_head=4),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        **OLD,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=9,
        max_position_embeddings=64,
    ),
    "gptj": lambda: transformers.GPTJConfig(**GPT, rotary_dim=4),
    "codegen": lambda: transformers.CodeGenConfig(**GPT, rotary_dim=4),
    "mpt": lambda: transformers.MptConfig(**OLD, d_model=32, n_heads=4, n_layers=2, max_seq_len=64),
    "openai-gpt": lambda: transformers.OpenAIGPTConfig(**GPT),
    "deberta-v2": lambda: transformers.DebertaV2Config(
        **ENCODER, relative_attention=True, pos_att_type=["c2p", "p2c"], norm_rel_ebd="layer_norm"
    ),
    "mpnet": lambda: transformers.MPNetConfig(**ENCODER),
    "xlnet": lambda: transformers.XLNetConfig(**OLD, d_model=32, n_layer=2, n_head=4, d_inner=48),
}
DECODERS = ("bloom", "gpt_neo", "gptj", "codegen", "mpt", "openai-gpt")


def written_out(name: str) -> Any:
    torch.manual_seed(3)
    model: Any = transformers.AutoModel.from_config(CONFIGS[name](), attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model.eval()


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("name", CONFIGS)
def test_statistics_are_those_of_the_weights_that_the_model_returns(name: str, side: str) -> None:
    model, inputs = written_out(name), inputs_for("gpt2", side)
    before, plain = snapshot(model), result_of(model, inputs)[0]
    with capture(model) as session:
        assert torch.equal(result_of(model, inputs)[0], plain)
    assert snapshot(model) == before and session.not_captured == {}
    frame = session.heads()
    assert frame["verified"].all()  # by which way differs: transformers rewrites its models
    real = inputs["attention_mask"].bool()
    for layer, weights in enumerate(result_of(model, inputs, output_attentions=True).attentions):
        for statistic, expected in head_statistics(weights, real).items():
            found = torch.tensor(frame.filter(frame["layer"] == layer)[statistic].to_list()).double()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=f"{layer} {statistic}")


@pytest.mark.parametrize("name", DECODERS)
def test_masked_entries_are_the_future(name: str) -> None:
    events: list[AttentionEvent] = []
    with intercept(written_out(name), events.append) as way:  # type: ignore[arg-type]
        result_of(way.stack.model, inputs_for("gpt2"))
    length = events[0].call.n_queries
    seen = events[0].call.visibility.block(0, length, 0, length, length, length, torch.device("cpu"))
    assert torch.equal(seen[0, 0], torch.ones(length, length, dtype=torch.bool).tril())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_module_carries_other_values_and_other_outputs(name: str) -> None:
    model, inputs = written_out(name), inputs_for("gpt2")

    def doubled(event: AttentionEvent) -> Tensor:
        assert event.call.value is not None
        output = event.run(None)
        torch.testing.assert_close(event.run(2 * event.call.value), 2 * output)
        torch.testing.assert_close(event.run(torch.ones_like(event.call.value)), torch.ones_like(output))
        return output.clone()  # not the kernel's own tensor, so it is put back into the module's layout

    plain = result_of(model, inputs)[0]
    with intercept(model, doubled):
        assert torch.equal(result_of(model, inputs)[0], plain)
    with replace(model, "zero", layers=[1]) as replaced:
        assert not torch.allclose(result_of(model, inputs)[0], plain, atol=1e-4)
    assert len(replaced) == 1


class WrittenAttention(nn.Module):
    """Attention written out, with what the test wants between softmax and values."""

    num_heads = 2

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.projection, self.between = nn.Linear(8, 24), between

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=-1))
        return self.between(query @ key.transpose(-1, -2), value).transpose(1, 2).flatten(2)


X = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(0))
FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "operator": lambda logits, value: logits.softmax(-1) @ value,
    "dropout and type": lambda logits, value: (
        nn.functional.dropout(torch.softmax(logits, dim=3), 0.5, False).to(value.dtype) @ value
    ),
    "module": lambda logits, value: torch.matmul(nn.Softmax(dim=-1)(logits), value),
    "batch and head in one": lambda logits, value: torch.bmm(
        logits.flatten(0, 1).softmax(-1), value.flatten(0, 1)
    ).unflatten(0, (-1, 2)),
    "einsum": lambda logits, value: torch.einsum("bhqk, bkhd -> bhqd", logits.softmax(-1), value.transpose(1, 2)),
    "one key head": lambda logits, value: logits.softmax(-1) @ value[:, :1],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_product(form: str) -> None:
    model = nn.Sequential(WrittenAttention(FORMS[form]))
    plain = result_of(model, {"input": X})
    with capture(model) as session:
        assert torch.equal(result_of(model, {"input": X}), plain)
    assert session.heads()["verified"].all() and list(session.records) == ["0"]
    with replace(model, "uniform"):
        found = result_of(model, {"input": X})
    flat = nn.Sequential(WrittenAttention(lambda logits, value: FORMS[form](0 * logits, value)))
    flat.load_state_dict(model.state_dict())
    torch.testing.assert_close(found, result_of(flat, {"input": X}))


def unseen(logits: Tensor, value: Tensor) -> Tensor:
    return (logits.softmax(-1)[..., None] * value[:, :, None]).sum(3)


def test_weights_whose_product_is_not_seen_have_statistics_and_are_not_verified() -> None:
    model = nn.Sequential(WrittenAttention(unseen), WrittenAttention(FORMS["operator"]))
    with capture(model) as session:
        result_of(model, {"input": X})
    assert [record.way for record in session.records.values()] == ["softmax alone", "softmax"]
    frame = session.heads()
    assert frame["verified"].to_list() == [False, False, True, True] and not frame["row_entropy"].is_null().any()
    with pytest.raises(UsageError, match="0: its softmax was seen and no product"), replace(model, "zero"):
        result_of(model, {"input": X})
    with replace(model, "zero", layers=["1"]) as replaced:
        result_of(model, {"input": X})
    assert replaced == {"1": 1}


def opaque(logits: Tensor, value: Tensor) -> Tensor:
    """Logits and values of which nobody knows how they were made."""
    with torch._C.DisableTorchFunction():
        logits, value = logits * 1.0, value * 1.0
    return logits.softmax(-1) @ value


def test_axes_that_are_not_known_are_not_measured() -> None:
    model = nn.Sequential(WrittenAttention(opaque), WrittenAttention(FORMS["operator"]))
    with capture(model) as session:
        result_of(model, {"input": X})
    assert list(session.records) == ["1"] and "it is unknown which axis" in session.not_captured["0"]


def test_attention_that_is_not_understood_is_listed_once() -> None:
    """Not once more for the module that holds it (Longformer, BigBird)."""

    class BandedAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = WrittenAttention(opaque)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    model = nn.ModuleDict({"attention": BandedAttention()})["attention"]
    with capture(nn.Sequential(model)) as session:
        session.model(X)
    assert list(session.not_captured) == ["0.inner"]


def test_weights_that_were_turned_or_changed_are_not_believed() -> None:
    model = nn.Sequential(
        WrittenAttention(lambda logits, value: logits.softmax(-1).transpose(-1, -2) @ value),
        WrittenAttention(lambda logits, value: logits.softmax(-1) ** 2 @ value),
        WrittenAttention(lambda logits, value: (logits.softmax(-1) * 1.0) @ value),
    )
    with capture(model) as session:
        result_of(model, {"input": X})
    assert list(session.records) == ["2"] and session.heads()["verified"].all()
    assert "summed over another axis" in session.not_captured["0"] and "changed between" in session.not_captured["1"]


def test_names_decide_nothing() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, None] @ x[:, None].transpose(-1, -2)).softmax(-1) @ x[:, None]

    with capture(Gate()) as session:
        session.model(X)
    assert session.heads()["verified"].all() and len(session.heads()) == 1


def test_a_softmax_over_features_is_passed_by() -> None:
    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.experts = nn.Linear(8, 4), nn.Linear(8, 32)

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bne,bned->bnd", self.gate(x).softmax(-1), self.experts(x).unflatten(-1, (4, 8)))

    with capture(Router()) as session:
        session.model(X)
    assert session.records == {} and session.not_captured == {}


def test_dropout_is_told() -> None:
    events: list[AttentionEvent] = []
    form = lambda logits, value: nn.functional.dropout(logits.softmax(-1), 0.25) @ value  # noqa: E731
    with intercept(nn.Sequential(WrittenAttention(form)), events.append) as way:  # type: ignore[arg-type]
        way.stack.model(X)
    assert events[0].dropout == 0.25


def test_gradients_pass() -> None:
    model = nn.Sequential(WrittenAttention(FORMS["operator"]))
    model(X).sum().backward()
    weight = next(model.parameters())
    plain, weight.grad = weight.grad, None
    with capture(model):
        model(X).sum().backward()
    assert plain is not None and weight.grad is not None and torch.equal(plain, weight.grad)


def test_weights_without_a_product_are_known_when_their_module_ends() -> None:
    """Not at the next softmax: the last module of a model is met too, and no record comes late."""
    model = nn.Sequential(WrittenAttention(FORMS["operator"]), WrittenAttention(unseen))
    met: list[list[str]] = []
    with capture(model) as session:
        model[1].register_forward_hook(lambda *_: met.append(list(session.records)))
        result_of(model, {"input": X})
    assert met == [["0", "1"]] and session.not_captured == {}
    assert session.heads()["verified"].to_list() == [True, True, False, False]


def test_an_error_after_the_softmax_leaves_no_call() -> None:
    def breaks(logits: Tensor, value: Tensor) -> Tensor:
        raise ZeroDivisionError(str(logits.softmax(-1).shape))

    with capture(nn.Sequential(WrittenAttention(breaks))) as session, pytest.raises(ZeroDivisionError):
        session.model(X)
    assert session.records == {}


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "openai-gpt"])  # which keeps no cache
def test_decoded_rows_stand_at_the_end(name: str) -> None:
    """With a cache the query is the last key, so that own, previous and local mass are known."""
    torch.manual_seed(3)
    model: Any = transformers.AutoModelForCausalLM.from_config(CONFIGS[name](), attn_implementation="eager").eval()
    ids = inputs_for("gpt2", batch=1)["input_ids"]
    events: list[AttentionEvent] = []
    with intercept(model, events.append):  # type: ignore[arg-type]
        cache = result_of(model, {"input_ids": ids[:, :20]}, use_cache=True)[CACHE]
        cache = result_of(model, {"input_ids": ids[:, 20:21], CACHE: cache}, use_cache=True)[CACHE]
        result_of(model, {"input_ids": ids[:, 21:], CACHE: cache}, use_cache=True)
    assert [event.call.offset for event in events] == [0, 0, 20, 20, 21, 21]


def test_cross_attention_written_out_has_no_place() -> None:
    class Cross(nn.Module):
        num_heads = 2

        def forward(self, query: Tensor, memory: Tensor) -> Tensor:
            q, k = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in (query, memory))
            return (q @ k.transpose(-1, -2)).softmax(-1) @ k

    class CrossAttention(Cross):
        pass

    events: list[AttentionEvent] = []
    module = CrossAttention()
    with intercept(module, events.append):  # type: ignore[arg-type]
        for _ in range(3):
            module(X[:, :1], X)
        module(X[:, :5], X)
    assert [event.call.offset for event in events] == [None] * 4
