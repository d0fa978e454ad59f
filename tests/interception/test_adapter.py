"""Attention that modules return is read by an adapter of the user's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.interception.kl_models import KAPPA, KLAttention, KLModel, model_and_ids, own_weights

import heedful
from heedful.errors import CaptureError, UsageError


def adapter(module: Any) -> Any:
    """Ten lines: which modules attend, and where their weights and divergences are."""
    if not isinstance(module, KLAttention):
        return None

    def read(output: Any) -> dict[str, Any]:
        _, beta, kl = output
        return {"weights": beta, "divergence": kl, "kappa": module.kappa}

    return read


def test_weights_and_divergences_are_read() -> None:
    model, ids = model_and_ids()
    expected = own_weights(model, ids)
    with torch.no_grad(), heedful.capture(model, adapter=adapter) as session:
        model(ids)
    table = session.heads()
    assert table.height == 8 and table["verified"].all() and not session.not_captured
    assert {record.way for record in session.records.values()} == {"adapter alone"}
    assert torch.allclose(session.weights(1, 3), expected[1][0, 3], atol=1e-6)
    with torch.no_grad(), heedful.capture(model) as session:  # the adapter is gone
        model(ids)
    assert {record.way for record in session.records.values()} == {"softmax"}


@pytest.mark.parametrize("what", ["weights", "divergence"])
def test_one_of_both_is_enough(what: str) -> None:
    model, ids = model_and_ids()
    past = torch.ones(12, 12, dtype=torch.bool).tril()

    def one(module: Any) -> Any:
        if not isinstance(module, KLAttention):
            return None
        if what == "weights":
            return lambda output: {"weights": output[1]}
        return lambda output: {"divergence": output[2], "kappa": torch.full((4,), KAPPA), "visible": past}

    with torch.no_grad(), heedful.capture(model, adapter=one) as session:
        model(ids)
    assert torch.allclose(session.weights(0, 2), own_weights(model, ids)[0][0, 2], atol=1e-6)
    assert session.heads()["verified"].all()


def test_a_wrong_temperature_is_not_verified() -> None:
    model, ids = model_and_ids()

    def wrong(module: Any) -> Any:
        reader = adapter(module)
        return None if reader is None else lambda output: {**reader(output), "kappa": 2 * KAPPA}

    with torch.no_grad(), heedful.capture(model, adapter=wrong) as session:
        model(ids)
    assert not session.heads()["verified"].any()


def test_weights_are_replaced_where_the_adapter_says_how() -> None:
    model, ids = model_and_ids("keys")

    def replacing(module: Any) -> Any:
        reader = adapter(module)
        if reader is None:
            return None
        return lambda output: {
            **reader(output),
            "with_weights": lambda w: (w.sum((1, 3))[..., None] + 0 * output[0], w, 0),
        }

    with heedful.replace(model, "uniform", adapter=replacing) as replaced:
        changed = model(ids)
    assert dict(replaced) == {"layers.0": 1, "layers.1": 1}
    hidden = model.mean(ids) + 4 + 4  # rows of four heads sum to 4
    assert torch.allclose(changed, model.out(hidden), atol=1e-4)
    with pytest.raises(UsageError, match="with_weights"), heedful.replace(model, "uniform", adapter=adapter):
        model(ids)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"beta": 1}, "names 'beta'"),
        ({}, "neither 'weights' nor 'divergence'"),
        ({"weights": torch.ones(3, 3)}, r"\(batch, head, query, key\), got \(3, 3\)"),
        ([1], "expected a dictionary"),
        ({"weights": torch.ones(1, 1, 4, 4), "divergence": torch.ones(1, 1, 3, 3)}, "its divergence"),
    ],
)
def test_bad_readers_get_one_line(given: Any, message: str) -> None:
    model, ids = model_and_ids()

    def bad(module: Any) -> Any:
        return (lambda output: given) if isinstance(module, KLAttention) else None

    with heedful.capture(model, adapter=bad) as session:
        model(ids)
    with pytest.raises(CaptureError, match=message):
        session.heads()


def test_an_adapter_is_a_function_of_modules_to_readers() -> None:
    model, ids = model_and_ids()
    with pytest.raises(Exception, match="adapter"), heedful.capture(model, adapter="x"):  # type: ignore[arg-type]
        model(ids)
    with pytest.raises(UsageError, match="or None, for KLModel"), heedful.capture(model, adapter=lambda module: 3):
        model(ids)


def test_proofs_take_it() -> None:
    model, ids = model_and_ids()
    assert isinstance(model, KLModel)
    assert all(proof.recomputed for proof in heedful.verify(model, ids, adapter=adapter))
