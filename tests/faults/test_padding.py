"""F10, F12: padding on any side changes neither what the model says nor what is measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.material import tiny_bert, tiny_gpt2, tiny_llama
from tests.faults.test_in_process import QUICK, judged, overall, sharp
from torch import Tensor, nn

import heedful
from heedful.evaluation.running import pads_inside, positions_of, run_model, takes_positions
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict
from heedful.loading.sequences import TokenBatch

pytestmark = pytest.mark.fault
SIDES = [(5, 0), (0, 5), (3, 4)]
BY_LENGTH = {"row_std_seed"}
"""By definition a function of the length of the tensor, padding included."""
COUNTS = {"empty_rows"}


def padded(sequences: TokenBatch, left: int, right: int) -> TokenBatch:
    around = (left, right)
    pad: Callable[..., Tensor] = torch.nn.functional.pad
    return replace(
        sequences,
        input_ids=pad(sequences.input_ids, around, value=3),
        attention_mask=pad(sequences.attention_mask, around),
        special=pad(sequences.special, around, value=True),
        punctuation=pad(sequences.punctuation, around),
    )


@pytest.mark.parametrize(("left", "right"), SIDES)
@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama, tiny_bert])
def test_f10_padding_on_any_side_changes_nothing_that_is_measured(
    build: Callable[[], nn.Module], left: int, right: int
) -> None:
    model, plain = sharp(build()).double(), sequences_of(random_ids(4, 24))
    one, other = (Study(model, text, QUICK).observed for text in (plain, padded(plain, left, right)))
    names = set(one.layers[0].values)
    assert {"sink_mass", "visible_share", "concentration", "distance_mass", "nonfinite_rows"} <= names
    for name in sorted(names - BY_LENGTH - COUNTS):
        for a, b in zip(one.layers, other.layers, strict=True):
            np.testing.assert_allclose(b.values[name], a.values[name], atol=1e-6, equal_nan=True, err_msg=name)
    assert not np.allclose(one.stacked("row_std_seed"), other.stacked("row_std_seed"), atol=1e-6)
    assert (other.stacked("empty_rows") == left + right).all()


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama, tiny_bert])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_f12_positions_come_from_the_mask_where_padding_stands_first(
    build: Callable[..., nn.Module], kernel: str
) -> None:
    model = build() if build is tiny_bert else build(attn_implementation=kernel)
    text = padded(sequences_of(random_ids(3, 20)), 6, 0)
    ids, mask = text.input_ids, text.attention_mask
    with torch.no_grad():
        alone = model(input_ids=ids[:, 6:]).logits
        np.testing.assert_allclose(run_model(model, ids, mask).logits[:, 6:], alone, atol=1e-5)
        plain = model(input_ids=ids, attention_mask=mask).logits[:, 6:]
    assert bool((plain - alone).abs().max() > 1e-3) is (build is not tiny_llama)


def test_f12_padding_between_tokens_is_not_counted_and_padding_behind_them_changes_no_call() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1]])
    assert positions_of(mask).tolist() == [[0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5, 6]]
    assert pads_inside(mask) and not pads_inside(torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]]))
    seen: list[set[str]] = []
    model = tiny_gpt2()
    handle = model.register_forward_pre_hook(lambda _, __, given: seen.append(set(given)), with_kwargs=True)
    for sides in ((0, 4), (4, 0)):
        text = padded(sequences_of(random_ids(2, 8)), *sides)
        run_model(model, text.input_ids, text.attention_mask)
    handle.remove()
    assert ["position_ids" in names for names in seen] == [False, True]


def test_f12_models_that_count_from_a_padding_row_are_left_to_it() -> None:
    from transformers import RobertaConfig, RobertaForMaskedLM

    config = RobertaConfig(
        vocab_size=24, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=1,
    )  # fmt: skip
    model = RobertaForMaskedLM(config).eval()
    assert not takes_positions(model) and takes_positions(tiny_bert())
    ids = random_ids(2, 12) % 20 + 4
    mask = torch.nn.functional.pad(torch.ones_like(ids), (5, 0))
    with torch.no_grad():
        found = run_model(model, torch.nn.functional.pad(ids, (5, 0), value=1), mask).logits[:, 5:]
        np.testing.assert_allclose(found, model(input_ids=ids).logits, atol=1e-5)


def test_f12_the_report_says_how_positions_were_counted() -> None:
    text = padded(sequences_of(random_ids(4, 16)), 3, 0)
    report = heedful.validate(tiny_gpt2(), text, settings=QUICK)
    assert "padding before tokens: positions are counted over real tokens" in report.model["notes"]
    assert overall(report)["rows_sum_to_one"].verdict is Verdict.PASS

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny_gpt2()

        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    notes = heedful.validate(Plain(), text, settings=QUICK).model["notes"]
    assert any("takes no position_ids" in note for note in notes)
    assert not any("padding" in note for note in judged(tiny_gpt2(), text.input_ids).model["notes"])


def test_f12_a_capture_of_the_users_own_call_changes_no_position() -> None:
    model, text = tiny_gpt2(), padded(sequences_of(random_ids(2, 12)), 4, 0)
    given = {"input_ids": text.input_ids, "attention_mask": text.attention_mask}
    with torch.no_grad():
        alone = model(**given).logits
        with heedful.capture(model):
            assert torch.equal(model(**given).logits, alone)
