"""Training runs of derived models: what is trained moves and nothing else, gone on with they end the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from heedful.app import app
from heedful.errors import InputRejected, UsageError
from heedful.loading.documents import Documents
from heedful.loading.loaded_model import load_model
from heedful.ngrams.counting.reading import read_counts
from heedful.ngrams.derivation.encoder import layer_normalised
from heedful.ngrams.derivation.model.arms import relink
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.training.run_settings import DerivedRunSettings
from heedful.training.decoder_run import train_decoder
from heedful.training.run_folder import RunFolder
from heedful.training.token_windows import split_documents

SIZES = "width=64 head_dim=16 inner=32 layers=2 heads=2 furthest=1"
SETTINGS = DerivedRunSettings(
    changes=SIZES, units="characters", steps=4, save_every=2, batch=2, length=32, held_out=0.25
)


@pytest.fixture(scope="module")
def documents() -> Documents:
    draw = random.Random(1)
    words = ["and", "the", "king", "of", "israel", "went", "up", "unto", "him", "behold"]
    texts = tuple(" ".join(draw.choices(words, k=40)) for _ in range(24))
    return Documents(names=tuple(f"d{i}" for i in range(24)), texts=texts, origin="made up")


def begun(settings: DerivedRunSettings, documents: Documents, out: Path) -> dict[str, torch.Tensor]:
    """The run made, and its tensors as they were before the first step."""
    first: dict[str, torch.Tensor] = {}

    def keep(trainer: Any) -> None:
        first.update({name: part.detach().clone() for name, part in trainer.model.state_dict().items()})

    train_decoder(settings, documents, out, prepare=keep)
    return first


def moved(before: dict[str, torch.Tensor], out: Path) -> set[str]:
    after = load_file(out / "model.safetensors")
    return {name for name, part in after.items() if not torch.equal(part, before[name])}


@pytest.mark.parametrize(
    ("words", "attention", "embeddings"),
    [
        ({"arm": "frozen"}, set(), False),
        ({"arm": "frozen", "recipe": "offset"}, set(), False),
        ({"arm": "frozen", "recipe": "seed"}, set(), False),
        ({"arm": "trainable"}, {"q_proj", "k_proj", "v_proj", "o_proj"}, False),
        ({"arm": "trainable", "recipe": "offset"}, {"q_proj", "k_proj", "v_proj", "o_proj"}, False),
        ({"arm": "derived-start", "recipe": "offset"}, {"v_proj", "o_proj"}, False),
        ({"arm": "none"}, set(), False),
        ({"arm": "none-wide", "embeddings": "trainable"}, set(), True),
        ({"embeddings": "trainable"}, set(), True),
        ({"embeddings": "linked"}, {"q_proj", "k_proj", "v_proj"}, True),
    ],
)
def test_what_should_move_moves_and_nothing_else(
    words: dict[str, Any], attention: set[str], embeddings: bool, documents: Documents, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, **words)
    found = moved(begun(settings, documents, tmp_path / "run"), tmp_path / "run")
    assert {name.split(".")[-2] for name in found if ".attention." in name} == attention
    assert ("model.embed_tokens.weight" in found) is embeddings
    assert sum("feed_forward" in name for name in found) == 2 * 6 and "model.norm.weight" in found
    assert ("model.embed_positions.weight" in found) is (settings.recipe == "seed")
    loaded: Any = load_model(tmp_path / "run").model
    figures = json.loads((tmp_path / "run" / "held_out.json").read_text())
    assert type(loaded) is HeedfulDerivedForCausalLM and not loaded.config.use_cache
    assert figures["trainable"] == sum(part.numel() for part in loaded.parameters() if part.requires_grad)
    assert loaded.config.frozen_embeddings is not embeddings


def test_arms_share_what_they_have_and_weigh_the_same_where_they_should(documents: Documents, tmp_path: Path) -> None:
    arms = {arm: begun(replace(SETTINGS, arm=arm), documents, tmp_path / arm)
            for arm in ("frozen", "trainable", "none", "none-wide")}  # fmt: skip
    shared = "model.layers.1.feed_forward.1.weight"
    assert torch.equal(arms["frozen"][shared], arms["trainable"][shared])
    assert torch.equal(arms["frozen"][shared], arms["none"][shared])
    assert torch.equal(arms["none"]["model.embed_tokens.weight"], arms["trainable"]["model.embed_tokens.weight"])
    figures = {arm: json.loads((tmp_path / arm / "held_out.json").read_text()) for arm in arms}
    assert figures["frozen"]["trainable"] == figures["none"]["trainable"] < figures["trainable"]["trainable"]
    assert figures["none-wide"]["trainable"] == pytest.approx(figures["trainable"]["trainable"], abs=2 * 65)


@pytest.mark.parametrize("embeddings", ["frozen", "linked"])
def test_gone_on_with_it_ends_as_if_it_had_not_stopped(embeddings: str, documents: Documents, tmp_path: Path) -> None:
    settings = replace(SETTINGS, embeddings=embeddings, relink_every=3, steps=6)
    train_decoder(settings, documents, tmp_path / "whole")

    def stop(done: int, _steps: int, _what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_decoder(settings, documents, out, progress=stop)
    last = RunFolder(out).last_checkpoint()
    assert last is not None and last.name == "checkpoint-4"
    train_decoder(settings, documents, out, resume=True)
    one, other = (load_file(folder / "model.safetensors") for folder in (out, tmp_path / "whole"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert (out / "drift.csv").read_text() == (tmp_path / "whole" / "drift.csv").read_text()
    with pytest.raises(UsageError, match="arm frozen, now trainable"):
        train_decoder(replace(SETTINGS, arm="trainable", steps=6), documents, out, resume=True)


@pytest.mark.slow
def test_killed_and_gone_on_with_it_ends_the_same(documents: Documents, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"id": n, "text": t}) + "\n" for n, t in
                            zip(documents.names, documents.texts, strict=True)))  # fmt: skip
    sizes = [word for change in SIZES.split() for word in ("--set", change)]
    command = [sys.executable, "-m", "heedful", "ngrams", "train", "--text", str(text), "--tokenizer", "characters",
               "--steps", "60", "--save-every", "5", "--batch", "2", "--length", "32", *sizes]  # fmt: skip
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert subprocess.run([*command, "--out", str(whole)], check=False, capture_output=True).returncode == 0
    process = subprocess.Popen([*command, "--out", str(run)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while RunFolder(run).last_checkpoint() is None and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "held_out.json").exists()
    assert subprocess.run([*command, "--out", str(run), "--resume"], check=False).returncode == 0
    one, other = (load_file(folder / "model.safetensors") for folder in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_run_counts_its_training_documents_and_no_others(documents: Documents, tmp_path: Path) -> None:
    train_decoder(SETTINGS, documents, tmp_path / "run")
    stored = read_counts(tmp_path / "run" / "counts")
    split = split_documents(documents, SETTINGS.held_out, SETTINGS.seed)
    assert stored.manifest.tokens == sum(map(len, split.training)) < sum(map(len, documents.texts))
    assert stored.manifest.documents == len(split.training)
    notes = json.loads((tmp_path / "run" / "run.json").read_text())["notes"]
    assert "attention is derived from counts of the training documents alone" in notes
    again = replace(SETTINGS, counts=str(tmp_path / "run" / "counts"))
    train_decoder(again, documents, tmp_path / "given")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "given"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert "may have been counted" in json.loads((tmp_path / "given" / "run.json").read_text())["notes"][0]


def test_counts_of_another_tokenizer_or_without_what_is_wanted_are_refused(
    documents: Documents, tmp_path: Path
) -> None:
    train_decoder(SETTINGS, documents, tmp_path / "run")
    counts = str(tmp_path / "run" / "counts")
    train_decoder(replace(SETTINGS, units="bpe", vocabulary=270), documents, tmp_path / "bpe")
    with pytest.raises(InputRejected, match="tokenizer"):
        train_decoder(replace(SETTINGS, counts=counts), documents, tmp_path / "a", tokenizer=tmp_path / "bpe")
    assert not list((tmp_path / "a").iterdir())
    pairs = replace(SETTINGS, counts=counts, changes=f"{SIZES} shortest=2 longest=2 query=last_token")
    with pytest.raises(UsageError, match="no table of n = 2"):
        train_decoder(pairs, documents, tmp_path / "b")


def test_linked_attention_is_that_of_its_embeddings_and_left_embeddings_drift(
    documents: Documents, tmp_path: Path
) -> None:
    tables = {}
    for embeddings in ("frozen", "trainable", "linked"):
        settings = replace(SETTINGS, embeddings=embeddings, steps=12, save_every=6, learning_rate=0.02)
        train_decoder(settings, documents, tmp_path / embeddings)
        tables[embeddings] = polars.read_csv(tmp_path / embeddings / "drift.csv").filter(polars.col("layer") == 0)
    assert tables["frozen"]["step"].unique().to_list() == [0, 6, 12]
    assert tables["frozen"]["relative_change"].max() == 0.0 and tables["frozen"]["cosine"].min() == 1.0
    last = {name: table.filter(polars.col("step") == 12, polars.col("head") == 0).row(0, named=True)
            for name, table in tables.items()}  # fmt: skip
    assert last["trainable"]["relative_change"] > 0.1 and last["trainable"]["cosine"] < 1
    assert last["frozen"]["skill"] > 0.9 and last["linked"]["skill"] > 0.9
    assert last["trainable"]["skill"] < last["linked"]["skill"] - 0.02
    model: Any = load_model(tmp_path / "linked").model
    fed = layer_normalised(model.model.embed_tokens.weight.detach().double().numpy())
    attention = model.model.layers[0].attention
    wanted = attention.factors.key[0].double().numpy()
    got = fed @ attention.k_proj.weight[:16].detach().double().numpy().T
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("changes", ["", "positions=sinusoidal attention_input=none encoder=joint_pseudo_inverse"])
@pytest.mark.parametrize("recipe", ["corrected", "offset"])
def test_relinking_with_the_same_embeddings_changes_nothing(
    recipe: str, changes: str, documents: Documents, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, recipe=recipe, embeddings="linked", changes=f"{SIZES} width=128 longest=2 {changes}")
    before: dict[str, torch.Tensor] = {}

    def keep(trainer: Any) -> None:
        before.update({name: part.clone() for name, part in trainer.model.state_dict().items()})
        relink(trainer.model)
        for name, part in trainer.model.state_dict().items():
            torch.testing.assert_close(part, before[name], rtol=1e-4, atol=1e-5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_decoder(settings, documents, tmp_path / "run", prepare=keep)
    assert any(".factors." in name for name in before)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipe", "best"], "--recipe 'best': expected one of seed, corrected, offset"),
        (["--set", "head_dim=7", "--set", "positions=alibi"], "positions = 'alibi': expected one of none"),
        (["--arm", "none", "--embeddings", "linked"], "only frozen attention that was derived for its embeddings"),
        (["--recipe", "seed", "--embeddings", "linked"], "kept=embedding in the recipe"),
        (["--vocabulary", "100"], "vocabulary 100: expected at least 258"),
        (["--vocabulary", "4", "--tokenizer", "characters"], "vocabulary 4: expected at least 5"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_text_is_read(words: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["ngrams", "train", "--out", str(tmp_path / "run"), "--text", "absent.txt", *words])
    assert done.exit_code == 2 and told in done.output and done.output.count("\n") == 1
    assert not (tmp_path / "run").exists()
