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
from heedful.ngrams.derivation.derive import logit_spreads, pairings
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe


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


ROUND = 11
SHORT_TEXT = np.tile(np.arange(ROUND), 40)
TABLES = {(1, skip): counted(SHORT_TEXT, 1, skip) for skip in range(3)}
PLAIN = DerivationRecipe(width=24, head_dim=24, inner=0, final_norm=False, attention_input="none")


@pytest.mark.parametrize("value", ["copy", "probability", "log_ratio"])
@pytest.mark.parametrize("pattern", ["content", "offset"])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_heads_speak_of_the_token_that_is_said(pattern: str, value: str, skip: int) -> None:
    recipe = replace(PLAIN, pattern=pattern, value=value, heads=skip + 1, furthest=skip)
    made, message = derive(TABLES, recipe, length=64), pairings(recipe)[skip]
    assert message.heads == (skip,)
    attention, text = made.model.model.layers[0].attention, torch.from_numpy(SHORT_TEXT[:40])[None]
    with torch.no_grad():
        attention.o_proj.weight[:, : skip * 24] = 0.0  # heads of smaller skips
        taken = made.model.model(text).last_hidden_state - made.model.model.embed_tokens(text)
    spoken = (taken[0].double().numpy() @ made.embedding.T).argmax(-1)[25:]
    assert (spoken == (SHORT_TEXT[25:40] + message.ahead) % ROUND).all()
    assert message.fits == (message.ahead == 1)


def test_recipes_that_fit_and_those_that_do_not() -> None:
    assert all(one.fits for one in pairings(RECIPES["offset"])) and len(pairings(RECIPES["offset"])) == 4
    assert [one.fits for one in pairings(RECIPES["corrected"])] == [True]
    assert not any(one.fits for one in pairings(RECIPES["seed"]))
    first = pairings(RECIPES["seed"])[0].sentence
    assert first == (
        "attends to what often stands 1 after the query and adds what stands 1 after it, which is 2 after the query, "
        "while the next is asked for."
    )
    assert [one.heads for one in pairings(replace(PLAIN, heads=4, furthest=1))] == [(0,), (1, 2, 3)]
