"""What a session keeps to draw from: the first sequence of each layer, exactly, as copies, within a budget."""

from __future__ import annotations

import pytest
import torch
from tests.cases import CASES, attention_call
from tests.interception.models import inputs_for, result_of, tiny

from heedful.attention.engines.dense import dense_weights
from heedful.errors import CaptureError, ResourceLimit, UsageError
from heedful.interception.kept_calls import KeptCalls, first_sequence
from heedful.interception.session import capture


@pytest.mark.parametrize("name", list(CASES))
def test_a_map_of_short_sequences_is_the_weights(name: str) -> None:
    call = CASES[name]()
    kept = KeptCalls()
    kept.offer("layer", 3, tuple(range(call.heads)), call)
    weights = dense_weights(call)[0, call.heads - 1]
    path, found = kept.map(3, call.heads - 1)
    assert path == "layer"
    torch.testing.assert_close(found.mass[0, 0].double(), weights.nan_to_num().double(), atol=2e-3, rtol=2e-2)


def test_the_first_call_is_kept_and_later_ones_are_not() -> None:
    calls = [attention_call(seed=seed) for seed in (1, 2)]
    kept = KeptCalls()
    for call in calls:
        kept.offer("layer", 0, tuple(range(call.heads)), call)
    assert kept.calls["layer"].call is not None
    assert torch.equal(kept.calls["layer"].call.query, calls[0].query[:1])


def test_copies_share_nothing_with_the_model() -> None:
    call = attention_call()
    kept = KeptCalls()
    kept.offer("layer", 0, tuple(range(call.heads)), call)
    own = kept.calls["layer"].call
    assert own is not None and own.value is None and own.query.shape[0] == 1
    assert own.query.untyped_storage().data_ptr() != call.query.untyped_storage().data_ptr()
    assert first_sequence(call).query.untyped_storage().data_ptr() == call.query.untyped_storage().data_ptr()


def test_what_does_not_fit_is_told_with_a_way_out() -> None:
    call = attention_call()
    kept = KeptCalls(left=64)
    kept.offer("layer", 2, tuple(range(call.heads)), call)
    with pytest.raises(UsageError, match=r"no memory left to keep layer: .* layers=\[2\]"):
        kept.map("layer", 0)
    assert kept.left == 64


@pytest.mark.parametrize(
    ("layer", "head", "bins", "said"),
    [
        (9, 0, 256, "no such layer: 9; measured: 0"),
        (0, 99, 256, "has heads 0, 1"),
        (0, 0, 257, "bins"),
        (0, 0, 0, "bins"),
    ],
)
def test_what_is_not_there_is_named(layer: int, head: int, bins: int, said: str) -> None:
    call = attention_call()
    kept = KeptCalls()
    kept.offer("layer", 0, tuple(range(call.heads)), call)
    with pytest.raises(UsageError, match=said):
        kept.map(layer, head, bins)


def test_nothing_met_is_nothing_to_draw() -> None:
    with pytest.raises(CaptureError, match="no attention call was captured"):
        KeptCalls().map(0, 0)


def test_a_session_draws_the_heads_it_measured_by_their_own_index() -> None:
    model, inputs = tiny("llama"), inputs_for("llama")
    with capture(model) as whole:
        result_of(model, inputs)
    with capture(model, heads=[2]) as part:
        result_of(model, inputs)
    path = whole.records[next(iter(whole.records))].path
    everything, alone = whole.kept.map(0, 2)[1], part.kept.map(path, 2)[1]
    torch.testing.assert_close(everything.mass, alone.mass)
    assert not torch.allclose(everything.mass, whole.kept.map(0, 3)[1].mass)
    with pytest.raises(UsageError, match="has heads 2; got 3"):
        part.pattern(0, 3)


@pytest.mark.parametrize("name", list(CASES))
def test_weights_are_the_exact_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedful.interception.kept_calls.BLOCK_ELEMENTS", 100)  # several blocks, the last one short
    call = CASES[name]()
    kept = KeptCalls()
    kept.offer("layer", 3, tuple(range(call.heads)), call)
    found = kept.weights(3, call.heads - 1)
    assert found.shape == (call.n_queries, call.n_keys) and bool(torch.isfinite(found).all())
    torch.testing.assert_close(
        found.double(), dense_weights(call)[0, call.heads - 1].nan_to_num().double(), atol=2e-3, rtol=2e-2
    )


def test_weights_that_do_not_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedful.interception.kept_calls.WEIGHTS_BYTES", 1 << 10)
    call = attention_call()
    kept = KeptCalls()
    kept.offer("layer", 2, tuple(range(call.heads)), call)
    monkeypatch.setattr("heedful.interception.kept_calls.block_at", lambda *_: pytest.fail("rows were computed"))
    with pytest.raises(ResourceLimit, match=r"weights: layer: 37 x 37 weights take 1 MiB, the limit is .*pattern"):
        kept.weights(2, 0)


def test_weights_of_what_was_not_kept_are_refused() -> None:
    with pytest.raises(CaptureError, match="weights: no attention call was captured"):
        KeptCalls().weights(0, 0)
    kept = KeptCalls()
    call = attention_call()
    kept.offer("layer", 2, tuple(range(call.heads)), call)
    with pytest.raises(UsageError, match="weights: no such layer: 0"):
        kept.weights(0, 0)
    with pytest.raises(UsageError, match="weights: layer has heads 0"):
        kept.weights("layer", 99)
