"""The session: what it gathers, what it says it did not meet, and how it is read."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers
from tests.cases import CASES, attention_call
from tests.interception.models import KernelModel, inputs_for, nano, result_of, tiny
from torch import nn

from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.errors import CaptureError, UsageError
from heedful.interception.agreement import output_error, tolerance
from heedful.interception.call_record import head_label
from heedful.interception.sequence_means import sequence_means
from heedful.interception.session import Session, capture


def of(model: nn.Module, *batches: dict[str, Any], engine: str = "auto") -> Session:
    with capture(model, engine=engine) as session:
        for batch in batches:
            result_of(model, batch)
    return session


def test_one_row_a_module_and_head() -> None:
    frame = of(tiny("llama"), inputs_for("llama")).heads()
    assert frame.columns == ["layer", "module", "head", "label", "sequences", "verified", *STATISTICS]
    assert frame["module"].to_list() == ["model.layers.0.self_attn"] * 4 + ["model.layers.1.self_attn"] * 4
    assert frame["head"].to_list() == [0, 1, 2, 3] * 2 and frame["layer"].to_list() == [0] * 4 + [1] * 4
    assert frame["label"].to_list()[5] == "L1H1" and frame["sequences"].to_list() == [3] * 8


def test_the_columns_that_reports_rely_on() -> None:
    promised = {"concentration", "effective_keys", "max_weight", "self_mass", "previous_mass", "local_mass"}
    assert promised | {"sink_mass", "row_std_seed"} <= set(of(tiny("gpt2"), inputs_for("gpt2")).heads().columns)


@pytest.mark.fault
def test_batches_in_parts_give_the_same_means() -> None:
    model, inputs = tiny("gpt2"), inputs_for("gpt2", "right")
    together = of(model, inputs).heads()
    parts = [{key: value[rows] for key, value in inputs.items()} for rows in (slice(2, 3), slice(0, 2))]
    apart = of(model, *parts).heads()
    for name in STATISTICS:
        torch.testing.assert_close(
            torch.tensor(apart[name].to_list()), torch.tensor(together[name].to_list()), rtol=1e-6, atol=1e-6
        )


def test_both_engines_can_be_named() -> None:
    model, inputs = tiny("gpt2"), inputs_for("gpt2")
    dense, tiled_ = of(model, inputs, engine="dense").heads(), of(model, inputs, engine="tiled").heads()
    for name in STATISTICS:
        torch.testing.assert_close(
            torch.tensor(dense[name].to_list()), torch.tensor(tiled_[name].to_list()), rtol=1e-5, atol=1e-5
        )
    with (
        pytest.raises(UsageError, match="expected one of auto, dense, tiled, fused; got 'fast'"),
        capture(model, engine="fast"),
    ):
        pass


def test_sequences_too_short_to_judge_are_null() -> None:
    session = of(tiny("gpt2"), inputs_for("gpt2", length=7))
    assert session.heads()["row_entropy"].is_null().all()
    record = next(iter(session.records.values()))
    assert record.rows == 0 and record.short_rows == 3 * 4 * 7 and record.empty_rows == 0


def test_no_call_met_is_an_error_that_names_the_model() -> None:
    with pytest.raises(CaptureError, match="Linear: no attention call was captured"):
        of(nn.Linear(2, 2)).heads()
    session = of(KernelModel(), {"ids": torch.arange(20)[None]})
    with pytest.raises(
        CaptureError, match=r"KernelModel: no attention call was captured.*transformers' attention table"
    ):
        session.heads()
    assert len(session.not_met) == 2


def test_a_wrong_recomputation_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that misreads the scale is caught by its own output."""
    model = tiny("gpt2")
    from heedful.interception.interceptors import huggingface

    original = huggingface.table_rules

    def misread(*args: Any) -> Any:
        visibility, _ = original(*args)
        return visibility, torch.ones(1).view(1, 1, 1, 1) * torch.linspace(0, 1, args[3].shape[2])

    monkeypatch.setattr(huggingface, "table_rules", misread)
    frame = of(model, inputs_for("gpt2")).heads()
    assert not frame["verified"].any()


def test_dropout_cannot_be_verified() -> None:
    model = tiny("gpt2").train()
    session = of(model, inputs_for("gpt2"))
    assert not session.heads()["verified"].any()


@pytest.mark.fault
def test_nan_weights_are_not_hidden() -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, :8] = float("nan")  # queries of head 0
    frame = of(model, inputs_for("gpt2")).heads()
    second = frame.filter(frame["layer"] == 1)
    assert second["row_entropy"].is_null().to_list() == [True, False, False, False]
    assert second["self_mass"].is_null().to_list() == [True, False, False, False]


def test_one_row_that_is_not_finite_is_not_averaged_away() -> None:
    model, inputs = tiny("gpt2"), inputs_for("gpt2")
    with torch.no_grad():
        model.transformer.wpe.weight[23] = float("nan")  # the last position: the rows before it are finite
    session = of(model, inputs)
    first = session.heads().filter(session.heads()["layer"] == 0)
    assert first["row_entropy"].is_null().all() and first["local_mass"].is_null().all()
    assert session.records["transformer.h.0.attn"].broken == {0, 1, 2, 3}


def test_labels_that_the_model_gives() -> None:
    model = nano()
    model.blocks[1].head_labels = ["l0", "l1", "l2"]
    frame = of(model, {"ids": torch.arange(20)[None]}).heads()
    assert frame["label"].to_list() == ["L0H0", "L0H1", "L0H2", "L0H3", "L1H0 l0", "L1H1 l1", "L1H2 l2", "L1H3"]
    assert head_label(nn.Linear(1, 1), 4, 2) == "L4H2"


def test_sequence_means_leave_out_short_and_empty_rows() -> None:
    rows = tiled(CASES["padded_left"]()).rows
    found = sequence_means(rows, rows.visible.float())
    torch.testing.assert_close(found[0], torch.full((4,), sum(range(8, 38)) / 30))
    torch.testing.assert_close(found[1], torch.full((4,), sum(range(8, 26)) / 18))


def test_output_error_is_relative_and_leaves_out_empty_rows() -> None:
    call = CASES["padded_left"]()
    moments = tiled(call)
    assert moments.output is not None
    output = moments.output.clone()
    assert output_error(moments, output) == 0
    output[1, :, :12] = 7  # rows that see nothing
    assert output_error(moments, output) == 0
    output[0, 0, 5, 0] += 0.1 * float(moments.output[:, 0].abs().max())
    assert output_error(moments, output) == pytest.approx(0.1, rel=0.1)
    output[0, 0, 5, 0] = float("nan")
    assert output_error(moments, output) == float("inf")
    assert math.isnan(output_error(tiled(CASES["no_values"]()), output))


def test_tolerance_grows_with_the_roundoff() -> None:
    assert tolerance(torch.float32) == tolerance(torch.float64) == 1e-4
    assert tolerance(torch.float16) == 2**-9 and tolerance(torch.bfloat16) == 2**-6
    assert tolerance(torch.bfloat16, 4.0) == 2**-5


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_an_output_that_is_off_by_five_percent_is_not_verified(dtype: torch.dtype, implementation: str) -> None:
    from heedful.interception.interceptors.huggingface import _eager_of

    model, inputs = tiny("llama", implementation).to(dtype), inputs_for("llama", "right")
    assert of(model, inputs).heads()["verified"].all()
    table = transformers.AttentionInterface._global_mapping
    honest = table.get(implementation) or _eager_of(model.model.layers[0].self_attn)

    def wrong(*args: Any, **keywords: Any) -> Any:
        output, weights = honest(*args, **keywords)
        factor = torch.ones(4, dtype=dtype)
        factor[2] = 1.05  # one head alone
        return output * factor[:, None], weights

    kept = dict(table)
    table[implementation] = wrong
    try:
        assert not of(model, inputs).heads()["verified"].any()
    finally:
        table.clear()
        table.update(kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_in_other_precisions(dtype: torch.dtype) -> None:
    model = tiny("llama").to(dtype)
    frame = of(model, inputs_for("llama", "left")).heads()
    assert frame["verified"].all() and not frame["row_entropy"].is_null().any()


def test_autocast_reaches_the_model_and_not_the_statistics() -> None:
    model, inputs = tiny("llama"), inputs_for("llama")
    with torch.autocast("cpu", torch.bfloat16):
        plain = result_of(model, inputs).logits
        with capture(model) as session:
            assert torch.equal(result_of(model, inputs).logits, plain)
    assert session.heads()["verified"].all()
    rows = tiled(attention_call()).rows
    assert rows.entropy.dtype == torch.float32
