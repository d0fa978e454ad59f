"""The price of keys in few bits on small models: what must be nothing, what must be something, and what is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.interception.models import KernelModel, nano, tiny
from tests.interception.state import snapshot

from heedful.compression.loss_context import verdict_on
from heedful.compression.quantize_keys import quantize_keys, standard_quantizers
from heedful.compression.quantizer import Quantizer
from heedful.compression.record import Quantization
from heedful.errors import CaptureError, InputRejected, UsageError
from heedful.inference.mean_interval import Effect
from heedful.interception.intercept import intercept
from heedful.loading.sequences import TokenBatch

FINE, COARSE = Quantizer(bits=8, group="channel"), Quantizer(bits=2, group="tensor")


def text(documents: int = 18, length: int = 20, padded: bool = False) -> TokenBatch:
    made = sequences_of(random_ids(documents, length, vocabulary=61))
    if padded:
        mask = made.attention_mask.clone()
        mask[1::2, 14:] = 0
        made = replace(made, attention_mask=mask)
    return made


def priced(name: str = "llama", **options: Any) -> Quantization:
    options = {"quantizers": [FINE, COARSE], **options}
    return quantize_keys(tiny(name), options.pop("sequences", text()), **options)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral"])
def test_eight_bits_cost_next_to_nothing_and_two_bits_much(name: str) -> None:
    found = priced(name)
    fine, coarse = found.trials
    assert 0 < fine.quantized.divergence.estimate < 1e-3 < 0.02 < coarse.quantized.divergence.estimate
    assert fine.quantized.error.estimate < 0.05 < coarse.quantized.error.estimate
    assert fine.key_error.estimate < 0.01 < 0.2 < coarse.key_error.estimate
    assert fine.quantized.loss is not None and abs(fine.quantized.loss.estimate) < 0.01
    assert fine.verdict == "within" and coarse.quantized.divergence.n == 18
    assert found.recomputed is not None and abs(found.recomputed.estimate) < 1e-5
    assert found.not_measured == []
    model = found.model
    assert (model["layers"], model["heads"], len(coarse.heads)) == (2, 8, 8)


def test_heads_are_those_of_their_layers_and_overall_is_their_mean() -> None:
    found = priced().trials[1]
    assert [(one.layer, one.head, one.key_head) for one in found.heads[:4]] == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 2, 1),
        (0, 3, 1),
    ]
    mean = np.mean([one.divergence.estimate for one in found.heads])
    assert np.isclose(mean, found.quantized.divergence.estimate, rtol=1e-6)


def test_loss_is_that_of_a_model_whose_keys_were_rounded_by_hand() -> None:
    from heedful.attention.engines.changed_keys import attended
    from heedful.compression.quantizer import quantized

    model, sequences = tiny("llama"), text()
    found = quantize_keys(model, sequences, quantizers=[COARSE])

    def rounded(event: Any) -> Any:
        return attended(replace(event.call, key=quantized(event.call.key, COARSE)))

    def loss() -> float:
        logits = model(input_ids=sequences.input_ids).logits[:, :-1].flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits, sequences.input_ids[:, 1:].flatten()))

    with torch.no_grad():
        plain = loss()
        with intercept(model, rounded):
            changed = loss()
    assert found.loss is not None and np.isclose(found.loss.estimate, plain, rtol=1e-5)
    cost = found.trials[0].quantized.loss
    assert cost is not None and np.isclose(cost.estimate, changed - plain, atol=1e-4) and abs(cost.estimate) > 1e-3


def test_before_rotation_is_another_rounding_and_without_rotation_the_same() -> None:
    after, before = priced("llama"), priced("llama", stage="before")
    assert before.not_measured == [] and before.stage == "before"
    assert before.trials[1].quantized.divergence != after.trials[1].quantized.divergence
    assert before.trials[0].quantized.divergence.estimate < 1e-3
    plain = [priced("gpt2", stage=stage).trials[1].quantized for stage in ("after", "before")]
    assert plain[0] == plain[1]


def test_padding_is_no_key() -> None:
    """Sequences cut short, and the same ones padded: rows and outputs are those of the real keys."""
    whole = text(padded=True)
    short = [index for index in range(18) if index % 2]
    cut = replace(
        whole,
        **{name: getattr(whole, name)[short] for name in ("document",)},
        **{
            name: getattr(whole, name)[short, :14] for name in ("input_ids", "attention_mask", "special", "punctuation")
        },
    )
    padded = replace(
        whole,
        **{
            name: getattr(whole, name)[short]
            for name in ("document", "input_ids", "attention_mask", "special", "punctuation")
        },
    )
    one, other = (priced(sequences=part).trials[1].quantized for part in (cut, padded))
    assert np.isclose(one.divergence.estimate, other.divergence.estimate, rtol=1e-4)
    assert (
        one.loss is not None
        and other.loss is not None
        and np.isclose(one.loss.estimate, other.loss.estimate, atol=1e-5)
    )


def test_without_a_head_there_is_no_loss_and_the_rest_is_measured() -> None:
    found = priced("bert")
    assert found.loss is None and found.trials[1].quantized.loss is None and found.trials[1].structure is None
    assert found.trials[1].verdict == "no loss" and found.trials[1].quantized.divergence.estimate > 0
    assert [one["what"] for one in found.not_measured] == ["loss"]


def test_the_model_is_as_before_and_a_second_run_says_the_same() -> None:
    model, sequences = tiny("llama").train(), text(documents=6)
    before = snapshot(model)
    first = quantize_keys(model, sequences, quantizers=[COARSE], stage="before")
    assert snapshot(model) == before
    assert quantize_keys(model, sequences, quantizers=[COARSE], stage="before") == first
    assert first.trials[0].verdict == "insufficient data"


def test_the_control_is_no_copy_of_the_error() -> None:
    trial = priced().trials[1]
    assert trial.noise.divergence != trial.quantized.divergence
    assert 0.2 < trial.noise.divergence.estimate / trial.quantized.divergence.estimate < 5


def test_plain_modules_have_keys_too_and_say_what_lies_before_rotation() -> None:
    found = quantize_keys(nano(), text(), quantizers=[FINE])
    assert found.trials[0].quantized.divergence.estimate < 1e-3 and found.not_measured == []
    before = quantize_keys(nano(), text(), quantizers=[FINE], stage="before")  # c_attn gives them as they are
    assert before.trials[0].quantized == found.trials[0].quantized


def test_bad_inputs_are_told() -> None:
    with pytest.raises(UsageError, match="expected one of after, before; got 'during'"):
        priced(stage="during")
    with pytest.raises(UsageError, match="at least one"):
        priced(quantizers=[])
    with pytest.raises(UsageError, match="at least one"):
        standard_quantizers((), (), ())
    with pytest.raises(CaptureError, match="no keys were captured"):
        quantize_keys(KernelModel().eval(), text(), quantizers=[FINE])
    broken = tiny("llama")
    with torch.no_grad():
        broken.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(InputRejected, match="not finite"):
        quantize_keys(broken, text(), quantizers=[FINE])


def test_the_standard_set_has_every_group_and_clipping_apart() -> None:
    names = [one.name for one in standard_quantizers()]
    assert len(names) == len(set(names)) == 13
    assert "3-bit channel" in names and "tensor clip 99" in names and "4-bit tensor clip 99.9" in names


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [
        (None, "no loss"),
        (Effect(estimate=0.0, low=-0.005, high=0.005, n=20), "within"),
        (Effect(estimate=0.0, low=-0.005, high=0.005, n=15), "insufficient data"),
        (Effect(estimate=0.05, low=0.011, high=0.09, n=20), "costs"),
        (Effect(estimate=0.05, low=0.009, high=0.09, n=20), "not settled"),
        (Effect(estimate=-0.05, low=-0.09, high=-0.011, n=20), "helps"),
    ],
)
def test_verdicts_come_from_whole_intervals(effect: Effect | None, verdict: str) -> None:
    assert verdict_on(effect, 0.01) == verdict
