"""Formulas written from the papers against those that transformers computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from tests.contract.architectures import SIZES
from torch import nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from heedful.contract.frequencies import rotary_promise
from heedful.contract.promises import Place
from heedful.contract.record import Contract

ROPES: dict[str, dict[str, Any]] = {
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
    "longrope": {
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "short_factor": [1.0 + 0.1 * i for i in range(8)],
        "long_factor": [2.0 + 0.3 * i for i in range(8)],
    },
}
MORE = {
    "yarn, own factor": ("yarn", {"attention_factor": 1.3}),
    "yarn, both sizes": ("yarn", {"mscale": 0.7, "mscale_all_dim": 0.9}),
    "yarn, not cut": ("yarn", {"truncate": False}),
}
CASES = {**{kind: (kind, {}) for kind in ROPES}, **MORE}


def place_of(config: Any) -> Place:
    return Place("layers.0.self_attn", nn.Module(), config, config.model_type, "", 0, "")


@pytest.mark.parametrize("name", CASES)
def test_formulas_are_those_of_transformers(name: str) -> None:
    kind, more = CASES[name]
    rope = {"rope_type": kind, "rope_theta": 10000.0, **ROPES[kind], **more}
    config = transformers.LlamaConfig(**{**SIZES, "rope_parameters": rope})
    for length in (40, 200):
        found = rotary_promise(place_of(config), 16, length, Contract())
        assert found is not None
        angles, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)
        torch.testing.assert_close(found.angles.float(), angles, rtol=2e-6, atol=1e-9)
        assert found.factor == pytest.approx(factor, rel=1e-6)


def test_what_is_not_known_is_not_promised() -> None:
    config = transformers.LlamaConfig(**{**SIZES, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})
    assert rotary_promise(place_of(config), 16, 40, Contract()) is not None
    config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert rotary_promise(place_of(config), 16, 4000, Contract()) is None  # beyond its length it depends on the text
    config.rope_parameters = {"rope_type": "another", "rope_theta": 1e4}
    assert rotary_promise(place_of(config), 16, 40, Contract()) is None
    given = rotary_promise(place_of(transformers.GPT2Config()), 16, 40, Contract(theta=100.0))
    assert given is not None and given.source == "contract"
