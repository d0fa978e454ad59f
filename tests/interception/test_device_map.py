"""Models that accelerate lays out over devices, or whose weights wait on disk until their layer runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.interception.models import inputs_for, nano, result_of, tiny

from heedful.errors import UsageError
from heedful.evaluation.nine_sections import validate
from heedful.evaluation.running import device_of
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict
from heedful.interception.replace import replace
from heedful.interception.session import capture
from heedful.interception.verify import verify
from heedful.loading.batch import Batch

PARTS = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")
LAYOUTS: dict[str, dict[str, str]] = {
    "one device": {"": "cpu"},
    "a layer on disk": {part: "disk" if part == "model.layers.1" else "cpu" for part in PARTS},
    "the first half on disk": {part: "disk" if part in PARTS[:2] else "cpu" for part in PARTS},
}


def laid_out(layout: str, folder: Path) -> tuple[Any, Any]:
    """A tiny Llama, and the same one under a device map."""
    model = tiny("llama")
    model.save_pretrained(folder / "model")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "model", device_map=LAYOUTS[layout], offload_folder=folder / "offload"
    )
    return model, loaded.eval()


def hooks(model: Any) -> dict[str, Any]:
    return {path: (getattr(m, "_hf_hook", None), vars(m).get("forward")) for path, m in model.named_modules()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_under_a_device_map_is_captured_proved_and_replaced(layout: str, tmp_path: Path) -> None:
    whole, model = laid_out(layout, tmp_path)
    inputs = inputs_for("llama", "left")
    before, plain = hooks(model), result_of(model, inputs).logits
    with capture(whole) as expected:
        torch.testing.assert_close(plain, result_of(whole, inputs).logits)
    with capture(model) as session:
        assert torch.equal(result_of(model, inputs).logits, plain)
    assert session.heads().equals(expected.heads()) and session.not_captured == {}
    assert [proof.recomputed and proof.replaced for proof in verify(model, inputs)] == [True, True]
    with replace(model, "zero") as replaced:
        assert not torch.allclose(result_of(model, inputs).logits, plain, atol=1e-2)
    assert list(replaced) == list(session.records)
    assert hooks(model) == before and torch.equal(result_of(model, inputs).logits, plain)


@pytest.mark.parametrize("layout", ["one device", "a layer on disk"])
def test_the_findings_are_those_of_the_whole_model(layout: str, tmp_path: Path) -> None:
    whole, model = laid_out(layout, tmp_path)
    settings = Settings(preset="quick", null_models=1, resamples=99)
    text = sequences_of(random_ids(8, 24))
    found, expected = (validate(one, text, settings=settings) for one in (model, whole))
    ours, theirs = (
        [
            (f.claim, f.verdict, f.reason)
            for section in report.sections
            for f in section.findings
            if f.claim != "gradients_reach_attention"
        ]
        for report in (found, expected)
    )
    assert ours == theirs
    gradient = next(f for section in found.sections for f in section.findings if f.claim == "gradients_reach_attention")
    assert gradient.verdict is Verdict.PASS
    assert ("offloaded, so not known: 4 (model.layers.1.self_attn" in gradient.reason) == ("disk" in layout)


def test_inputs_go_where_there_is_data() -> None:
    model = nano()
    assert device_of(model) == torch.device("cpu")
    model.wte.to("meta")
    assert device_of(model) == torch.device("cpu")
    assert device_of(torch.nn.Embedding(2, 2, device="meta")) == torch.device("cpu")


def test_a_batch_moves_beside_a_layer() -> None:
    ids = torch.ones(2, 3, dtype=torch.int64)
    batch = Batch(ids, ids, torch.arange(2), ids.bool(), ids.bool())
    assert batch.at(torch.device("cpu")) is batch
    moved = batch.at(torch.device("meta"))
    assert moved.input_ids.is_meta and moved.punctuation.is_meta and not moved.index.is_meta


def test_heads_divided_over_processes_without_a_trace_are_refused() -> None:
    model = tiny("llama")
    model._tp_size = 2
    with (
        pytest.raises(
            UsageError,
            match=r"LlamaForCausalLM is divided over 2 processes, and .* do not say how; .*device_map='auto'",
        ),
        capture(model),
    ):
        pass
