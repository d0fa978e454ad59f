"""The loss of the pass that measures is that of a pass of its own."""

from __future__ import annotations

import numpy as np
import torch
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_gpt2

from heedful.evaluation.ablation import losses_of
from heedful.evaluation.objective import Objective
from heedful.evaluation.output_layer import output_layer
from heedful.evaluation.text_reader import TextReader


def test_losses_are_read_with_and_without_whole_logits() -> None:
    model, mask = tiny_gpt2(), torch.ones(3, 16, dtype=torch.long)
    mask[1, 9:] = 0
    batch = batch_of(random_ids(3, 16), mask)
    expected = losses_of(model, Objective("next token"), [batch])
    for layer in (None, output_layer(model, batch)):
        reader = TextReader(model, layer)
        with torch.no_grad():
            reader.run(batch)
            assert not reader.losses and np.isnan(reader.whole([batch])).all()
            reader.read(batch)
        np.testing.assert_allclose(reader.whole([batch]), expected, rtol=1e-5)


def test_hidden_states_are_no_logits() -> None:
    model, batch = tiny_gpt2(), batch_of(random_ids(2, 16))
    reader = TextReader(model.transformer, None)
    with torch.no_grad():
        reader.read(batch)
    assert not reader.losses
