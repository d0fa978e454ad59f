"""What is said of where heads look and what they take, against frozen heads on a text that goes round and round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.ngrams.derivation.texts import counted

from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.pairing import pairings
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe

ROUND = 11
TEXT = np.tile(np.arange(ROUND), 40)
TABLES = {(1, skip): counted(TEXT, 1, skip) for skip in range(3)}
PLAIN = DerivationRecipe(width=24, head_dim=24, inner=0, final_norm=False, attention_input="none")


@pytest.mark.parametrize("value", ["copy", "probability", "log_ratio"])
@pytest.mark.parametrize("pattern", ["content", "offset"])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_heads_speak_of_the_token_that_is_said(pattern: str, value: str, skip: int) -> None:
    recipe = replace(PLAIN, pattern=pattern, value=value, heads=skip + 1, furthest=skip)
    made, message = derive(TABLES, recipe, length=64), pairings(recipe)[skip]
    assert message.heads == (skip,)
    attention, text = made.model.model.layers[0].attention, torch.from_numpy(TEXT[:40])[None]
    with torch.no_grad():
        attention.o_proj.weight[:, : skip * 24] = 0.0  # heads of smaller skips
        taken = made.model.model(text).last_hidden_state - made.model.model.embed_tokens(text)
    spoken = (taken[0].double().numpy() @ made.embedding.T).argmax(-1)[25:]
    assert (spoken == (TEXT[25:40] + message.ahead) % ROUND).all()
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
