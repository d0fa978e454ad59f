"""Real checkpoints of other tasks and of old versions of torch, loaded as they were published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.realmodels.trained_models import reaction_model
from tests.realmodels.wheels import file_of

from heedful.loading.loaded_model import load_model

pytestmark = pytest.mark.realmodels


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("bert_pretrained", "bert.pooler.dense.bias, bert.pooler.dense.weight, cls.seq_relationship.bias and 1 more"),
        ("bert_ft_10k_25s", ""),
        ("bert_ft", ""),  # holds no head: its encoder is built
    ],
)
def test_streams_of_before_torch_1_6_load_with_what_no_task_of_theirs_reads(
    name: str, left: str, tmp_path: Path
) -> None:
    loaded = reaction_model(tmp_path, name)
    assert "pytorch_model.bin was written by torch before 1.6" in loaded.notes
    assert (f"heads of other tasks left out: {left}" in loaded.notes) == bool(left), loaded.notes
    given = torch.load(file_of("rxnfp", f"{name}/pytorch_model.bin"), map_location="cpu", weights_only=True)
    own = loaded.model.state_dict()
    shared = given.keys() & own.keys()
    assert len(shared) > 190 and all(torch.equal(own[key], given[key]) for key in shared)


def test_a_classifier_loads_as_the_encoder_below_it(tmp_path: Path) -> None:
    weights = file_of("rxnfp", "bert_ft_10k_25s/pytorch_model.bin")
    config = json.loads((weights.parent / "config.json").read_text()) | {"model_type": "bert"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    loaded = load_model(weights, config=tmp_path / "config.json")
    assert any("classifier.bias, classifier.weight" in note for note in loaded.notes)


def test_antiberty_loads_with_its_unused_head() -> None:
    folder = file_of("antiberty", "pytorch_model.bin").parent
    loaded = load_model(folder, tokenizer=file_of("antiberty", "vocab.txt"))
    assert type(loaded.model).__name__.startswith("Bert") and loaded.notes
