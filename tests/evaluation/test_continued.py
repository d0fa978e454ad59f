"""Forwards that begin at a layer give the losses of whole ones, or are not used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_bert, tiny_gpt2, tiny_llama
from torch import nn

from heedful.evaluation.ablation import Replacement, losses_of, losses_under
from heedful.evaluation.continued import Continuation, continuation
from heedful.evaluation.objective import Objective

BATCH = batch_of(random_ids(4, 16))
WHERE = {
    "gpt2": (lambda: tiny_gpt2(4), "transformer.h.{}.attn"),
    "llama": (tiny_llama, "model.layers.{}.self_attn"),
    "bert": (tiny_bert, "bert.encoder.layer.{}.attention.self"),
}


def made_of(model: nn.Module, paths: list[str], objective: Objective) -> Continuation | None:
    with torch.no_grad():
        base = losses_of(model, objective, [BATCH])[:2]
    return continuation(model, objective, BATCH, paths, list(base))


@pytest.mark.parametrize("name", WHERE)
def test_layers_ablated_from_their_inputs_cost_the_same(name: str) -> None:
    build, place = WHERE[name]
    model, objective = build(), Objective("masked token" if name == "bert" else "next token", mask_token=2)
    paths = [place.format(layer) for layer in range(4 if name == "gpt2" else 2)]
    cut = made_of(model, paths, objective)
    assert cut is not None
    wanted = [Replacement(arm, (path,)) for path in paths for arm in ("uniform", "zero", "shuffled")]
    wanted.append(Replacement("uniform", (paths[-1],), (1,)))
    ran: list[int] = []
    handle = cut.layers[0].register_forward_hook(lambda *_: ran.append(1))
    whole = losses_under(model, objective, [BATCH], wanted)
    first = len(ran)
    cheap = losses_under(model, objective, [BATCH], wanted, cut=cut)
    np.testing.assert_allclose(cheap, whole, rtol=0, atol=1e-5)
    assert len(ran) - first == first + 1, "hooks of the layers below are called as before"
    handle.remove()
    assert not cut.entered and all("forward" not in layer.__dict__ for layer in cut.layers)


class Beside(nn.Module):
    """A layer that reads what the first one has left beside its output."""

    def __init__(self, inner: nn.Module, shared: dict[str, Any], first: bool) -> None:
        super().__init__()
        self.inner, self.shared, self.first = inner, shared, first

    def forward(self, hidden: torch.Tensor, *args: Any, **keywords: Any) -> torch.Tensor:
        if self.first:
            self.shared["gain"] = self.shared.get("gain", 0.0) + 1.0
        return self.inner(hidden, *args, **keywords) * self.shared["gain"]


def test_what_passes_beside_the_hidden_states_forbids_it() -> None:
    model, shared = tiny_gpt2(3), {}
    model.transformer.h = nn.ModuleList(Beside(h, shared, k == 0) for k, h in enumerate(model.transformer.h))
    paths = [f"transformer.h.{layer}.inner.attn" for layer in range(3)]
    assert made_of(model, paths, Objective("next token")) is None
    assert all("forward" not in layer.__dict__ for layer in model.transformer.h)


def test_layers_that_are_no_list_or_patched_are_left_whole() -> None:
    model = tiny_gpt2(3)
    assert made_of(model, ["transformer.h.0.attn", "elsewhere"], Objective("next token")) is None
    block = model.transformer.h[1]
    block.forward = block.forward
    assert made_of(model, [f"transformer.h.{k}.attn" for k in range(3)], Objective("next token")) is None
