"""Training runs of the gauge transformer go the way of the decoder's: whole, gone on with, loaded, refused."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments
from typer.testing import CliRunner

from heedful.app import app
from heedful.errors import UsageError
from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.gauge.run_settings import GaugeRunSettings
from heedful.loading.documents import Documents
from heedful.loading.loaded_model import load_model
from heedful.monitoring.tracker.table import read_table
from heedful.training.decoder_run import train_decoder
from heedful.training.max_share_penalty import TableTrainer

SETTINGS = GaugeRunSettings(irreps="2x0e + 1x1e", kappa_rule="calibrated", alignment_weight=0.1, steps=6, save_every=2,
                            batch=2, length=16, vocabulary=270, learning_rate=0.02)  # fmt: skip


@pytest.fixture(scope="module")
def documents() -> Documents:
    draw = random.Random(1)
    words = ["and", "the", "king", "of", "israel", "went", "up", "unto", "him", "behold"]
    texts = tuple(" ".join(draw.choices(words, k=40)) for _ in range(24))
    return Documents(names=tuple(f"d{i}" for i in range(24)), texts=texts, origin="made up")


def stopping_at(step: int) -> Any:
    def progress(done: int, _steps: int, _what: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_it_is_trained_loads_and_goes_on_as_if_it_had_not_stopped(documents: Documents, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    said: list[str] = []
    figures = train_decoder(replace(SETTINGS, track_every=2), documents, whole, tell=said.append)
    heads = [line.split() for line in said if line.startswith("  L0H")]
    wanted = [[f"L0H{n}", irrep, "row_std"] for n, irrep in enumerate(("l0", "l0", "l1"))]
    assert [one[:3] for one in heads[:3]] == wanted
    assert read_table(whole)["step"].max() == SETTINGS.steps
    loaded = load_model(whole)
    assert type(loaded.model) is GaugeForCausalLM and loaded.notes == ()
    assert loaded.model.config.irreps == "2x0e+1x1e" and bool(loaded.model.model.layers[0].self_attn.calibrated)
    assert figures["held_out_loss"] > 0 and loaded.trained_positions == 16
    with pytest.raises(KeyboardInterrupt):
        train_decoder(SETTINGS, documents, stopped, progress=stopping_at(3))
    train_decoder(SETTINGS, documents, stopped, resume=True)
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, stopped))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    settings = json.loads((whole / "run.json").read_text())["settings"]
    assert settings["irreps"] == "2x0e + 1x1e" and "qk_norm" not in settings
    with pytest.raises(UsageError, match="kappa"):
        train_decoder(replace(SETTINGS, kappa=2.0), documents, stopped, resume=True)


def test_tables_temperatures_and_rates_do_not_decay() -> None:
    model = GaugeForCausalLM(GaugeConfig(feed_forward="variational", kappa_rule="learned", tie_word_embeddings=False))
    arguments = TrainingArguments(output_dir="unused", use_cpu=True, report_to="none")
    decayed = TableTrainer(model=model, args=arguments).get_decay_parameter_names(model)
    assert decayed == ["lm_head.weight"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--irreps", "5x0"], "irreps '5x0': cannot be read"),
        (["--kappa", "0"], "kappa 0.0: expected a number above 0"),
        (["--frame-norm", "3.2"], "frame_norm = 3.2: expected |phi| of at most pi"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_text_is_read(words: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["gauge", "train", "--out", str(tmp_path / "run"), "--text", "absent.txt", *words])
    assert done.exit_code == 2 and told in done.output and done.output.count("\n") == 1
    assert not (tmp_path / "run").exists()
