"""Norms of hidden states: those of transformers' own hidden states, and a planted massive activation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.evaluation.material import batch_of

import heedful
from heedful.evaluation.same_pass import hidden_norms


@pytest.mark.parametrize("layer", [0, 2])
def test_norms_are_those_of_the_hidden_states_that_enter_each_block(layer: int) -> None:
    model = heedful.load_model().model
    batch = batch_of(torch.arange(5, 45).view(2, 20))
    path = f"model.layers.{layer}.self_attn"
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    found = hidden_norms(model, [batch], [path])[path]
    with torch.no_grad():
        hidden = model(batch.input_ids, output_hidden_states=True).hidden_states[layer]
    expected = [[sum(x * x for x in token) ** 0.5 for token in row] for row in hidden.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert hooks == [len(module._forward_pre_hooks) for module in model.modules()]


def test_a_massive_activation_is_the_sinks_norm() -> None:
    model = heedful.load_model().model
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[7] *= 100
    ids = torch.arange(20, 60)[None].clone()
    ids[0, 3] = 7
    norms = hidden_norms(model, [batch_of(ids)], ["model.layers.1.self_attn"])["model.layers.1.self_attn"][0]
    assert norms.argmax() == 3 and norms[3] > 10 * np.median(norms)


def test_padding_is_undefined_and_a_module_without_a_block_is_left_out() -> None:
    model = heedful.load_model().model
    mask = torch.ones(1, 20, dtype=torch.long)
    mask[0, 15:] = 0
    found = hidden_norms(model, [batch_of(torch.arange(5, 25)[None], mask)], ["model.layers.0.self_attn", "attention"])
    assert list(found) == ["model.layers.0.self_attn"]
    assert np.isnan(found["model.layers.0.self_attn"][0]).tolist() == [False] * 15 + [True] * 5
