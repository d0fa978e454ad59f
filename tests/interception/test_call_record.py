"""Rows that wait: worked out together, they give what they give alone, and nobody reads a record without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases import CASES
from tests.interception.models import inputs_for, result_of, tiny
from torch import nn

import heedful
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.interception import call_record
from heedful.interception.sequence_means import needed


def gathered(model: nn.Module, batches: list[dict[str, Any]]) -> list[Any]:
    with heedful.capture(model) as session:
        for batch in batches:
            result_of(model, batch)
    return [
        (path, record.rows, record.short_rows, record.empty_rows, record.broken, record.values)
        for path, record in session.records.items()
    ]


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_together_or_alone_to_the_last_bit(padding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = tiny("gpt2"), [inputs_for("gpt2", padding), inputs_for("gpt2", padding)]
    together = gathered(model, batches)
    monkeypatch.setattr(call_record, "MOST_ROWS", 0)
    alone = gathered(model, batches)
    for (*one, ours), (*other, theirs) in zip(together, alone, strict=True):
        assert one == other
        for name in STATISTICS:
            assert all(
                torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(ours[name], theirs[name], strict=True)
            )
            assert all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(ours[name], theirs[name], strict=True))


def test_a_running_forward_can_be_read() -> None:
    model, found = tiny("gpt2"), []
    with heedful.capture(model) as session:
        model.transformer.h[1].register_forward_pre_hook(
            lambda *_: found.append([len(record.values["row_entropy"]) for record in session.records.values()])
        )
        result_of(model, inputs_for("gpt2"))
        record = session._records["transformer.h.1.attn"]
        assert len(record.values["row_entropy"]) == 1, "a forward that has ended left rows that wait"
    assert found == [[1]] and [len(record.values["row_entropy"]) for record in session.records.values()] == [1, 1]


def test_what_a_statistic_raises_is_the_record_s_and_not_the_model_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(moments: Any) -> Any:
        raise RuntimeError("no such statistic")

    monkeypatch.setattr(call_record, "statistics_of", broken)
    model, inputs = tiny("gpt2"), inputs_for("gpt2")
    expected = result_of(model, inputs).logits
    with heedful.capture(model) as session:
        assert torch.equal(result_of(model, inputs).logits, expected)
    assert (
        all("RuntimeError: no such statistic" in why for why in session.not_captured.values())
        and len(session.not_captured) == 2
    )
    assert not any(record.verified or record.values for record in session.records.values())


@pytest.mark.parametrize("case", CASES)
def test_what_the_engine_leaves_out_is_what_no_statistic_needs(case: str) -> None:
    call = CASES[case]()
    whole, lean = tiled(call).rows, tiled(call, Extras(only=needed())).rows
    for name in needed() | {"logsumexp"}:
        torch.testing.assert_close(getattr(lean, name), getattr(whole, name), rtol=0, atol=0, equal_nan=True)
    assert lean.n_keys == whole.n_keys and (not lean.none_empty or int(whole.visible.min()) > 0)
