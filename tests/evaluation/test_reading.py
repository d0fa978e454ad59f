"""The model's own loss on the text, and the warning where the text is none that it can read."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.checks.pattern_models import study_of
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import tiny_gpt2

from heedful.evaluation.reading import TextLoss, frequency_loss, reading_of
from heedful.evaluation.running import evaluating
from heedful.evaluation.study import Study
from heedful.loading.documents import load_documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import make_sequences


def test_an_untrained_model_reads_no_better_than_frequencies() -> None:
    study = study_of(tiny_gpt2(), random_ids(16, 32))
    with evaluating(study.model):
        found = reading_of(study)
    assert found is not None and found.loss == pytest.approx(float(study.loss.mean()))
    assert found.frequencies == pytest.approx(math.log(24), abs=0.05)
    assert found.unlike and found.notes[1].startswith("warning: the model reads this text no better")


def test_a_trained_model_reads_its_text_and_not_a_shuffled_one() -> None:
    loaded = load_model()
    sequences = make_sequences(load_documents(), loaded.tokenizer, seq_len=64, sequences=16)
    found = {}
    for name in ("text", "random"):
        ids = sequences.input_ids
        if name == "random":
            ids = torch.randint(0, int(ids.max()) + 1, ids.shape, generator=torch.Generator().manual_seed(0))
        study = Study(
            loaded.model, replace(sequences, input_ids=ids), study_of(loaded.model, random_ids(2, 8)).settings
        )
        with evaluating(loaded.model):
            found[name] = reading_of(study)
    assert found["text"] is not None and not found["text"].unlike and len(found["text"].notes) == 1
    assert found["random"] is not None and found["random"].unlike


def test_the_loss_of_frequencies_is_their_entropy() -> None:
    ids = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]])
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) + 1 / 16
    assert frequency_loss(study_of(tiny_gpt2(), ids)) == pytest.approx(expected)
    assert TextLoss(800.0, 3.0).perplexity == math.inf
