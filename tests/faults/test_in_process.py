"""F07-F27: what can go wrong inside one process, from the model's numbers to an exception in its forward."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.material import tiny_gpt2
from tests.interception.state import snapshot
from torch import nn

from heedful import Settings, capture, validate
from heedful.errors import CaptureError
from heedful.evaluation.batches import batch_of, batches_of
from heedful.evaluation.evidence import collect
from heedful.evaluation.nine_sections import head_rows
from heedful.evaluation.probes import row_statistics
from heedful.evaluation.result import Report
from heedful.evaluation.running import evaluating
from heedful.inference.verdict import Verdict

pytestmark = pytest.mark.fault
QUICK = Settings(preset="quick", null_models=0, resamples=199)


def judged(model: nn.Module, ids: torch.Tensor, **more: Any) -> Report:
    return validate(model, sequences_of(ids), settings=replace(QUICK, **more))


def overall(report: Report) -> dict[str, Any]:
    return {f.claim: f for section in report.sections for f in section.findings if f.layer is None and f.head is None}


def sharp(model: nn.Module, factor: float = 6.0) -> nn.Module:
    """The same model with attention that is far from uniform."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "attn" in name:
                parameter.mul_(factor)
    return model


def statistics(model: nn.Module, batches: list[Any]) -> dict[str, np.ndarray]:
    with evaluating(model):
        evidence = collect(model, batches, [row_statistics])
    return {name: evidence.stacked(name) for name in evidence.layers[0].values}


def alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance: float = 1e-6) -> None:
    assert one.keys() == other.keys() and one
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, atol=tolerance, rtol=tolerance, equal_nan=True, err_msg=name)


@pytest.mark.parametrize("value", [0.0, 1e-42])
def test_f07_parameters_of_zeros_and_denormals_are_judged(value: float) -> None:
    model = tiny_gpt2()
    with torch.no_grad():
        model.transformer.h[0].attn.c_attn.weight.fill_(value)
    report = judged(model, random_ids(4, 16))
    assert overall(report)["attention_is_finite"].verdict is Verdict.PASS
    rows = [row for row in report.heads if row.layer == 0]
    assert rows and all(abs(row.statistics["concentration"]) < 1e-6 for row in rows)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_f07_parameters_that_are_not_finite_fail_and_the_rest_is_skipped(value: float) -> None:
    model = tiny_gpt2()
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, 0] = value
    found = overall(judged(model, random_ids(4, 16)))
    assert found.pop("attention_is_finite").verdict is Verdict.FAIL
    assert {finding.verdict for finding in found.values()} == {Verdict.SKIP}


@pytest.mark.parametrize("length", [2, 7, 8, 9])
def test_f13_sequences_at_the_edge_of_what_can_be_judged(length: int) -> None:
    report = judged(tiny_gpt2(), random_ids(3, length))
    assert len(report.heads) == 8
    if length < 8:
        assert {row.verdict for row in report.heads} == {"UNDEFINED"}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_f13_batches_of_one_two_and_three_sequences(count: int) -> None:
    report = judged(tiny_gpt2(), random_ids(count, 16))
    assert report.data["sequences"] == count
    assert overall(report)["heads_are_concentrated"].verdict is Verdict.INSUFFICIENT


def test_f17_one_token_alone_leaves_repetition_undefined_with_a_reason() -> None:
    found = overall(judged(tiny_gpt2(), torch.full((4, 24), 5)))
    for claim in ("same_token_attraction", "induction"):
        assert found[claim].verdict in (Verdict.SKIP, Verdict.UNDEFINED, Verdict.INSUFFICIENT) and found[claim].reason


class NoAttention(nn.Module):
    """A model without attention that returns whatever it is told to."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.embedding, self.answer = nn.Embedding(24, 8), answer

    def forward(self, ids: torch.Tensor) -> Any:
        self.embedding(ids)
        return self.answer


@pytest.mark.parametrize("answer", [(), None, torch.zeros(4, 16, 24), "words"])
def test_f19_a_model_without_attention_is_refused(answer: Any) -> None:
    with pytest.raises(CaptureError, match="no attention call was captured") as caught:
        judged(NoAttention(answer), random_ids(4, 16))
    assert caught.value.exit_code == 3


def test_f20_a_model_in_training_is_judged_as_in_evaluation_and_goes_on_training() -> None:
    model, ids = tiny_gpt2(attn_pdrop=0.5, resid_pdrop=0.5), random_ids(4, 24)
    quiet = judged(model, ids)
    model.train()
    model.transformer.h[1].eval()
    before = snapshot(model)
    noisy = judged(model, ids)
    assert snapshot(model) == before
    assert repr(noisy.sections) == repr(quiet.sections) and repr(noisy.heads) == repr(quiet.heads)


@pytest.mark.parametrize("error", [RuntimeError("no more"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("calls", [0, 1, 7])
def test_f21_an_exception_inside_the_forward_leaves_the_model_as_it_was(error: BaseException, calls: int) -> None:
    model = tiny_gpt2().train()
    seen: list[int] = []

    def fail(*_: Any) -> None:
        seen.append(1)
        if len(seen) > calls:
            raise error

    handle = model.transformer.h[1].mlp.register_forward_pre_hook(fail)
    before = snapshot(model)
    with pytest.raises(type(error)):
        judged(model, random_ids(40, 64))
    assert snapshot(model) == before
    handle.remove()
    assert judged(model, random_ids(4, 16)).heads


def test_f22_a_validation_inside_a_capture_sees_its_own_data() -> None:
    model, ids = sharp(tiny_gpt2()), random_ids(4, 24)
    alone = head_rows(model, sequences_of(ids), settings=QUICK)
    with capture(model) as session:
        inside = head_rows(model, sequences_of(ids), settings=QUICK)
        with torch.no_grad():
            model(ids)
    assert repr(inside) == repr(alone) and session.heads().height >= 8


def test_f22_a_capture_begun_inside_the_forward_of_another() -> None:
    model, ids = sharp(tiny_gpt2()), random_ids(2, 16)
    inner: list[int] = []

    def again(*_: Any) -> None:
        if not inner:
            inner.append(0)
            with capture(model) as session, torch.no_grad():
                model(ids)
            inner[0] = session.heads().height

    handle = model.transformer.h[0].register_forward_pre_hook(again)
    before = snapshot(model)
    with capture(model) as session, torch.no_grad():
        model(ids)
    assert snapshot(model) == before and inner == [8] and session.heads().height == 8
    handle.remove()


def test_f24_the_same_run_twice_whatever_was_drawn_between() -> None:
    model, ids = sharp(tiny_gpt2()), random_ids(20, 24)
    one = judged(model, ids, null_models=2)
    torch.rand(1000), np.random.default_rng().normal()
    other = judged(model, ids, null_models=2)
    assert repr(one.sections) == repr(other.sections) and repr(one.heads) == repr(other.heads)


@pytest.mark.parametrize("order", ["as it is", "reversed"])
def test_f24_neither_the_splitting_nor_the_order_of_sequences_shows(order: str) -> None:
    model = sharp(tiny_gpt2())
    text = sequences_of(random_ids(12, 24))
    whole = statistics(model, batches_of(model, text, 2048))
    for sizes in ([1] * 12, [5, 7], [3, 3, 3, 3]):
        places = torch.arange(12) if order == "as it is" else torch.arange(12).flip(0)
        parts = [batch_of(text, index, torch.device("cpu")) for index in places.split(sizes)]
        found = statistics(model, parts)
        back = places.argsort().numpy()
        alike(whole, {name: values[back] for name, values in found.items()})


class WrittenAttention(nn.Module):
    """Causal attention written out, whose product with values is one that nothing recognises where it is unseen."""

    num_heads = 2

    def __init__(self, unseen: bool) -> None:
        super().__init__()
        self.unseen, self.projection = unseen, nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=-1))
        later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        weights = (query @ key.transpose(-1, -2)).masked_fill(later, -1e30).softmax(-1)
        product = (weights[..., None] * value[:, :, None]).sum(3) if self.unseen else weights @ value
        return x + product.transpose(1, 2).flatten(2)


def written_model(*unseen: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(24, 16), *(WrittenAttention(one) for one in unseen), nn.Linear(16, 24))


SECTION_9 = (
    "attention_output_matters",
    "learned_weights_matter",
    "more_than_position_matters",
    "own_text_matters",
    "more_than_local_average_matters",
)


def test_f28_a_model_whose_attention_cannot_be_replaced_never_passes_section_9() -> None:
    found = overall(judged(written_model(True, True), random_ids(20, 24)))
    for claim in (*SECTION_9, "ablation_signature"):
        assert found[claim].verdict is Verdict.SKIP and "no product with values" in found[claim].reason
    assert found["capture_matches_output"].verdict is Verdict.WARN


def test_f28_a_model_with_one_such_layer_is_judged_in_the_others_and_never_passes_the_whole() -> None:
    report = judged(written_model(True, False), random_ids(20, 24), preset="standard", null_models=0)
    found = overall(report)
    for claim in SECTION_9:
        assert found[claim].verdict not in (Verdict.PASS, Verdict.ABSENT, Verdict.FAIL)
        assert "was left as it is: 1: its softmax was seen" in found[claim].reason
    layers = {f.layer for section in report.sections for f in section.findings if f.claim == SECTION_9[0]}
    assert layers == {None, 1}
    assert found["ablation_signature"].verdict is Verdict.SKIP
