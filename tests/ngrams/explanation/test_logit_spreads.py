"""Spreads of logits against eager weights row by row, and as the targets of a derived model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.material import tiny_llama
from tests.ngrams.alignment.test_count_alignment import SIZE, TEXT, held_out
from tests.ngrams.derivation.texts import counted
from torch import nn

from heedful.errors import CaptureError
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES
from heedful.ngrams.explanation.logit_spreads import logit_spreads


def test_spreads_by_a_loop_over_eager_weights() -> None:
    model, text = tiny_llama(), held_out(12, 5, padded=4)
    text.input_ids.remainder_(24)
    found = logit_spreads(model, text)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        given = model(text.input_ids, attention_mask=text.attention_mask, output_attentions=True).attentions
    wanted = []
    for layer in given:
        rows = [
            layer[place, :, row, : row + 1].double().log().std(-1, correction=0)
            for place, mask in enumerate(text.attention_mask)
            for row in range(1, int(mask.sum()))
        ]
        wanted.append(torch.stack(rows).mean(0).tolist())
    assert np.shape(found) == (2, 4)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_a_derived_model_has_the_spreads_of_its_reference() -> None:
    tables = {(1, skip): counted(TEXT[:12_000], 1, skip, SIZE) for skip in (0, 1)}
    text, wanted = held_out(32, 12), [[0.4, 1.7]]
    recipe = replace(RECIPES["corrected"], width=96, inner=8, heads=2, furthest=1, calibration="reference")
    documents = list(text.input_ids.numpy())
    made = derive(tables, recipe, documents, 32, spreads=wanted)
    np.testing.assert_allclose(logit_spreads(made.model, text), wanted, rtol=0.05)


def test_a_model_without_attention_has_none() -> None:
    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: torch.Tensor, **rest: object) -> torch.Tensor:
            return input_ids * self.weight

    with pytest.raises(CaptureError, match="none of its attention could be captured"):
        logit_spreads(Nothing(), held_out(8, 2))
