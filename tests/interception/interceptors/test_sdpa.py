"""Plain modules that call ``scaled_dot_product_attention``: nanoGPT style, ranks, masks, and what is out of probed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.interception.models import nano
from tests.interception.state import snapshot
from tests.oracles.attention_statistics import head_statistics
from torch import Tensor, nn

from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept
from heedful.interception.replace import replace
from heedful.interception.session import Session, capture

IDS = torch.arange(40).view(2, 20) % 61


def explicit_weights(model: Any, layer: int) -> Tensor:
    """The weights of one layer of the plain model, written out."""
    x = model.wte(IDS) + model.wpe(torch.arange(20))
    for index, block in enumerate(model.blocks):
        query, key, _ = (part.view(2, 20, 4, 8).transpose(1, 2) for part in block.c_attn(x).split(32, dim=2))
        logits = (query @ key.transpose(-1, -2)) / 8**0.5
        if index == layer:
            return torch.softmax(logits.masked_fill(torch.ones(20, 20).triu(1).bool(), -torch.inf), dim=-1)
        x = x + block(x)
    raise IndexError(layer)


def test_nano_model() -> None:
    model = nano()
    with torch.no_grad():
        plain = model(IDS)
        with capture(model) as session:
            assert torch.equal(model(IDS), plain)
        frame = session.heads()
        assert frame["module"].unique(maintain_order=True).to_list() == ["blocks.0", "blocks.1"]
        assert frame["verified"].all() and session.not_captured == {}
        for layer in range(2):
            for name, expected in head_statistics(explicit_weights(model, layer)).items():
                found = torch.tensor(frame.filter(frame["layer"] == layer)[name].to_list()).double()
                torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5)
    assert {record.way for record in session.records.values()} == {"scaled_dot_product_attention"}


class Calls(nn.Module):
    """A module whose forward is one call, as the test writes it."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def record_of(call: Callable[[Tensor], Tensor], x: Tensor) -> Session:
    model = Calls(call)
    plain = model(x)
    with capture(model) as session:
        assert torch.equal(model(x), plain)
    assert session.heads()["verified"].all()
    return session


X = torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(1))
LOWER = torch.ones(12, 12, dtype=torch.bool).tril()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x), id="bidirectional"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), id="causal"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, LOWER), id="mask"),
        pytest.param(lambda x: F.scaled_dot_product_attention(query=x, key=x, value=x, attn_mask=LOWER), id="keywords"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, torch.eye(12)), id="bias"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.2), id="scale"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x[..., :5]), id="narrow values"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x[:, :, :9], x, x), id="fewer queries"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x[:, :, :9], x, x, is_causal=True), id="from the start"),
        pytest.param(
            lambda x: F.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True), id="one key head"
        ),
        pytest.param(lambda x: F.scaled_dot_product_attention(x[:, 0], x[:, 0], x[:, 0], LOWER), id="three axes"),
        pytest.param(
            lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True), id="five axes"
        ),
        pytest.param(
            lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], LOWER.expand(1, 2, 3, 12, 12)),
            id="five axes and a mask",
        ),
    ],
)
def test_forms_of_the_call(call: Callable[[Tensor], Tensor]) -> None:
    record_of(call, X)


def test_a_second_call_of_one_forward_has_its_own_record() -> None:
    session = record_of(
        lambda x: F.scaled_dot_product_attention(F.scaled_dot_product_attention(x, x, x), x, x, is_causal=True), X
    )
    assert list(session.records) == ["", "#2"]


def test_calls_outside_the_model_are_not_met() -> None:
    model = nano()
    with capture(model) as session:
        F.scaled_dot_product_attention(X, X, X)
        with torch.no_grad():
            model.blocks[0](torch.randn(1, 20, 32))
    assert list(session.records) == ["blocks.0"]


def test_replaced_output_of_other_ranks() -> None:
    model = Calls(lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True))
    with replace(model, "uniform") as replaced:
        found = model(X)
    expected = X.cumsum(2) / torch.arange(1, 13)[:, None]
    torch.testing.assert_close(found, expected[None])
    assert replaced == {"": 1}


def test_what_is_not_understood_runs_and_is_listed() -> None:
    """Queries on one device only, a value of the wrong length ...: here, no keys at all."""
    model = Calls(lambda x: F.scaled_dot_product_attention(x, x[:, :, :0], x[:, :, :0]))
    plain = model(X)
    with capture(model) as session:
        assert torch.equal(model(X), plain)
    assert session.records == {}
    assert "key: expected at least one of each axis" in session.not_captured[""]


LENGTH = 14
LATER = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
PADDED = torch.arange(LENGTH) >= torch.tensor([[LENGTH], [9], [12]])


def attention(**options: Any) -> Any:
    torch.manual_seed(5)
    module = nn.MultiheadAttention(16, 4, **{"batch_first": True, **options})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2).add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def states(length: int = LENGTH, width: int = 16) -> Tensor:
    return torch.randn(3, length, width, generator=torch.Generator().manual_seed(length))


def met(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[list[AttentionEvent], Any]:
    """Events of one forward whose outputs are the plain path's, bit for bit."""
    events: list[AttentionEvent] = []
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            plain = module(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    with torch.no_grad(), intercept(module, events.append):  # type: ignore[arg-type]
        found = module(*args, **kwargs)
    for one, other in zip(plain, found, strict=True):
        assert one is other is None or torch.equal(one, other)
    return events, plain


def assert_proved(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The recomputed output is the module's, and the statistics are those of the weights that it returns."""
    kwargs["average_attn_weights"] = False
    met(module, *args, **kwargs)
    with torch.no_grad(), capture(module) as session:
        module(*args, **kwargs)
    (record,) = session.records.values()
    assert (
        record.way == "nn.MultiheadAttention" and record.verified and record.error < 1e-5 and session.not_captured == {}
    )
    with torch.no_grad():
        weights = module(*args, **{**kwargs, "need_weights": True})[1]
    return session, (weights[None] if weights.dim() == 3 else weights)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "positions first": ({"batch_first": False}, {}),
    "no biases": ({"bias": False}, {}),
    "padded": ({}, {"key_padding_mask": PADDED}),
    "float padding": ({}, {"key_padding_mask": torch.zeros(PADDED.shape).masked_fill(PADDED, -torch.inf)}),
    "bool mask": ({}, {"attn_mask": LATER}),
    "causal hint": ({}, {"attn_mask": LATER, "is_causal": True}),
    "float mask": ({}, {"attn_mask": torch.zeros(LATER.shape).masked_fill(LATER, -torch.inf)}),
    "bias": ({}, {"attn_mask": torch.linspace(-2, 2, LENGTH**2).view(LENGTH, LENGTH)}),
    "mask per head": ({}, {"attn_mask": LATER.expand(12, -1, -1)}),
    "mask and padding": ({}, {"attn_mask": LATER, "key_padding_mask": PADDED}),
    "positions first, padded": ({"batch_first": False}, {"attn_mask": LATER, "key_padding_mask": PADDED}),
}


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_self_attention(case: str, need_weights: bool) -> None:
    options, given = CASES[case]
    module = attention(**options)
    x = states() if module.batch_first else states().transpose(0, 1)
    session, weights = assert_proved(module, x, x, x, need_weights=need_weights, **given)
    real = ~PADDED if "key_padding_mask" in given else None
    frame = session.heads()
    for name, expected in head_statistics(weights, real).items():
        found = torch.tensor(frame[name].to_list()).double()
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5, msg=name)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_keys_that_the_module_appends(need_weights: bool, causal: bool) -> None:
    """A learned key and a zero key follow the text's: query i still stands at key i."""
    module, x = attention(add_bias_kv=True, add_zero_attn=True), states()
    given: dict[str, Any] = {"attn_mask": LATER} if causal else {}
    session, weights = assert_proved(module, x, x, x, need_weights=need_weights, **given)
    events, _ = met(module, x, x, x, need_weights=need_weights, **given)
    assert events[0].call.n_keys == LENGTH + 2 and events[0].call.offset == 0
    own = weights.diagonal(dim1=-2, dim2=-1)
    judged = (weights > 0).sum(-1) >= 8
    expected = own.masked_fill(~judged, torch.nan).nanmean(-1).nanmean(0)
    torch.testing.assert_close(torch.tensor(session.heads()["self_mass"].to_list()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_cross_attention_of_other_widths(need_weights: bool, batch_first: bool) -> None:
    module = attention(kdim=10, vdim=6, batch_first=batch_first)
    query, key, value = states(), states(20, 10), states(20, 6)
    if not batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    padded = torch.arange(20) >= torch.tensor([[20], [9], [15]])
    session, weights = assert_proved(module, query, key, value, need_weights=need_weights, key_padding_mask=padded)
    frame = session.heads()
    assert frame["self_mass"].is_null().all()
    entropy = -torch.special.xlogy(weights, weights).sum(-1).mean((0, 2))
    torch.testing.assert_close(torch.tensor(frame["row_entropy"].to_list()), entropy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("need_weights", [False, True])
def test_unbatched_input(need_weights: bool) -> None:
    module, x = attention(), states()[0]
    assert_proved(module, x, x, x, need_weights=need_weights, attn_mask=LATER)


def test_entering_representations_are_batch_first() -> None:
    x = states()
    for batch_first in (True, False):
        given = x if batch_first else x.transpose(0, 1)
        events, _ = met(attention(batch_first=batch_first), given, given, given)
        assert events[0].entering is not None and torch.equal(events[0].entering, x)


def test_the_kernel_takes_other_values() -> None:
    for need_weights in (False, True):
        (event,), _ = met(attention(), states(), states(), states(), need_weights=need_weights)
        assert event.call.value is not None
        torch.testing.assert_close(event.run(3 * event.call.value), 3 * event.run(None))
        torch.testing.assert_close(event.run(torch.ones_like(event.call.value)), torch.ones(3, 4, LENGTH, 4))


@pytest.mark.parametrize("need_weights", [False, True])
def test_replacing_weights(need_weights: bool) -> None:
    module, x = attention(), states()
    with torch.no_grad():
        with replace(module, "uniform") as replaced:
            found, _ = module(x, x, x, need_weights=need_weights)
        value = torch.nn.functional.linear(x, module.in_proj_weight[32:], module.in_proj_bias[32:])
        expected = module.out_proj(value.mean(1, keepdim=True).expand_as(value))
    torch.testing.assert_close(found, expected)
    assert replaced == {"": 1}


def test_interceptions_may_be_nested() -> None:
    module, x = attention(), states()
    for need_weights in (False, True):
        with torch.no_grad(), replace(module, "zero"), capture(module) as session:
            module(x, x, x, need_weights=need_weights)
        assert [record.verified for record in session.records.values()] == [False]
        with torch.no_grad(), capture(module) as session, replace(module, "zero"):
            found, _ = module(x, x, x, need_weights=need_weights)
        assert torch.equal(found, module.out_proj.bias.expand_as(found))


@pytest.mark.parametrize("need_weights", [False, True])
def test_nested_captures_see_the_same(need_weights: bool) -> None:
    """The outer one sees the inside of what the inner one answered, and still knows which queries are padding."""
    module, x = attention(add_bias_kv=True), states()
    given: dict[str, Any] = {"key_padding_mask": PADDED, "need_weights": need_weights}
    with torch.no_grad(), capture(module) as alone:
        module(x, x, x, **given)
    with torch.no_grad(), capture(module) as outer, capture(module) as inner:
        module(x, x, x, **given)
    (expected,), (first,), (second,) = (list(s.records.values()) for s in (alone, inner, outer))
    assert expected.empty_rows == 4 * int(PADDED.sum()) > 0
    assert (first.rows, first.empty_rows) == (second.rows, second.empty_rows) == (expected.rows, expected.empty_rows)
    for statistic, (means,) in expected.values.items():
        torch.testing.assert_close(second.values[statistic][0], means, rtol=1e-5, atol=1e-5, equal_nan=True)


LAYERS: dict[str, Any] = {
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
    "norm first": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
    ),
    "positions first": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 2, None, False),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_encoder_layers_and_their_fused_path(name: str) -> None:
    torch.manual_seed(2)
    model = LAYERS[name]().eval()
    x = states() if name != "positions first" else states().transpose(0, 1)
    before = snapshot(model)
    with torch.no_grad():
        fused = model(x, src_key_padding_mask=PADDED)
        with capture(model) as session:
            found = model(x, src_key_padding_mask=PADDED)
        assert torch.equal(model(x, src_key_padding_mask=PADDED), fused)
    assert snapshot(model) == before and torch.backends.mha.get_fastpath_enabled()
    real = ~PADDED if name != "positions first" else ~PADDED.T
    torch.testing.assert_close(found[real], fused[real], rtol=1e-5, atol=1e-5)
    assert list(session.records) == ["layers.0.self_attn", "layers.1.self_attn"]
    assert session.heads()["verified"].all() and session.not_captured == {}
    assert "fused path is off while captured" in session.notes["nn.MultiheadAttention"]
    assert all(record.empty_rows == 2 * 7 for record in session.records.values())


def test_a_decoder_has_two_attentions_a_layer() -> None:
    torch.manual_seed(2)
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 2, 32, batch_first=True), 2).eval()
    target, memory = states(), states(20)
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
    with torch.no_grad():
        plain = model(target, memory, tgt_mask=mask, tgt_is_causal=True)
        with capture(model) as session:
            found = model(target, memory, tgt_mask=mask, tgt_is_causal=True)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    assert list(session.records) == [f"layers.{i}.{name}" for i in (0, 1) for name in ("self_attn", "multihead_attn")]
    assert session.heads()["verified"].all() and session.not_captured == {}


def test_gradients_and_dropout_are_the_modules_own() -> None:
    module, x = attention(dropout=0.3).train(), states()
    results = []
    for watched in (False, True):
        torch.manual_seed(7)
        module.zero_grad()
        if watched:
            with capture(module) as session:
                module(x, x, x)[0].sum().backward()
            assert not session.heads()["verified"].any()
        else:
            module(x, x, x)[0].sum().backward()
        results.append(module.in_proj_weight.grad.clone())
    assert torch.equal(*results)
