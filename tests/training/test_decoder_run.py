"""Training runs of the reference decoder: gone on with they end bitwise as uninterrupted ones, or are refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from heedful.app import app
from heedful.errors import InputRejected, OutputError, UsageError
from heedful.loading.documents import Documents, load_documents
from heedful.loading.loaded_model import load_model
from heedful.training.decoder_run import train_decoder
from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.run_folder import RunFolder
from heedful.training.run_settings import RunSettings
from heedful.training.run_trainer import ProgressCallback, build_trainer, training_arguments
from heedful.training.token_windows import encode, split_documents

SETTINGS = RunSettings(steps=6, save_every=2, batch=2, length=16, vocabulary=270)


@pytest.fixture(scope="module")
def documents() -> Documents:
    draw = random.Random(1)
    words = ["and", "the", "king", "of", "israel", "went", "up", "unto", "him", "behold"]
    texts = tuple(" ".join(draw.choices(words, k=40)) for _ in range(24))
    return Documents(names=tuple(f"d{i}" for i in range(24)), texts=texts, origin="made up")


@pytest.fixture(scope="module")
def finished(documents: Documents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "whole"
    figures = train_decoder(SETTINGS, documents, out)
    assert json.loads((out / "held_out.json").read_text()) == figures
    return out


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def stopping_at(step: int) -> Any:
    def progress(done: int, _steps: int, _what: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_a_finished_folder_loads_and_was_trained(finished: Path, documents: Documents) -> None:
    loaded = load_model(finished)
    assert type(loaded.model) is HeedfulDecoderForCausalLM
    assert loaded.tokenizer is not None and len(loaded.tokenizer) == loaded.vocab_size
    assert loaded.notes == () and loaded.trained_positions == 16
    assert loaded.model.config.use_cache
    torch.manual_seed(0)
    assert not torch.equal(HeedfulDecoderForCausalLM(loaded.model.config).lm_head.weight, loaded.model.lm_head.weight)
    losses = [entry["eval_loss"] for entry in json.loads((finished / "trainer_state.json").read_text())["log_history"]
              if "eval_loss" in entry]  # fmt: skip
    assert len(losses) == 3 and losses[-1] < losses[0]
    unseen = [json.loads(line)["text"] for line in (finished / "held_out.jsonl").read_text().splitlines()]
    assert len(unseen) == 2 and set(unseen) < set(documents.texts)
    assert not [file for file in finished.iterdir() if file.suffix == ".bin" or file.name.startswith(".")]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_gone_on_with_it_ends_as_if_it_had_not_stopped(
    stop: int, finished: Path, documents: Documents, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_decoder(SETTINGS, documents, out, progress=stopping_at(stop))
    last = RunFolder(out).last_checkpoint()
    assert (last.name if last else None) == {1: None, 3: "checkpoint-2", 5: "checkpoint-4"}[stop]
    assert not (out / "held_out.json").exists()
    steps: list[int] = []
    train_decoder(SETTINGS, documents, out, resume=True, progress=lambda done, *_: steps.append(done))
    assert steps == list(range(stop, 7))
    assert_same_weights(out, finished)


def test_accumulation_and_checkpointed_layers_go_on_bitwise_too(documents: Documents, tmp_path: Path) -> None:
    settings = replace(SETTINGS, accumulation=2, gradient_checkpointing=True, precision="bfloat16", steps=4)
    settings = replace(settings, gain_weight_decay=0.3, track_every=2)
    train_decoder(settings, documents, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_decoder(settings, documents, tmp_path / "run", progress=stopping_at(3))
    train_decoder(settings, documents, tmp_path / "run", resume=True)
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_a_checkpoint_that_was_cut_off_is_not_believed(finished: Path, documents: Documents, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    for name in ("whole.json", "optimizer.pt"):
        (out / "checkpoint-6" / name).unlink()
    (out / "model.safetensors").write_bytes(b"half")
    last = RunFolder(out).last_checkpoint()
    assert last is not None and last.name == "checkpoint-4"
    train_decoder(SETTINGS, documents, out, resume=True)
    assert_same_weights(out, finished)


def test_gone_on_with_after_its_end_it_takes_no_step(finished: Path, documents: Documents, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    steps: list[int] = []
    figures = train_decoder(SETTINGS, documents, out, resume=True, progress=lambda done, *_: steps.append(done))
    assert steps == [] and figures == json.loads((finished / "held_out.json").read_text())
    assert_same_weights(out, finished)


def test_a_run_begun_otherwise_is_refused_by_name(finished: Path, documents: Documents) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    other = replace(SETTINGS, learning_rate=1e-3, qk_norm=False, save_every=3)
    with pytest.raises(UsageError, match=r"begun with qk_norm True, now False; learning_rate 0\.002, now 0\.001 \("):
        train_decoder(other, documents, finished, resume=True)
    text = replace(documents, texts=(*documents.texts[:-1], "another end"))
    with pytest.raises(UsageError, match=r"begun with text [0-9a-f]{12}, now [0-9a-f]{12} \("):
        train_decoder(SETTINGS, text, finished, resume=True)
    with pytest.raises(OutputError, match="give --resume to continue the run"):
        train_decoder(SETTINGS, documents, finished)
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_folders_of_others_are_left_alone(documents: Documents, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(OutputError, match="not an empty folder, nothing was changed"):
        train_decoder(SETTINGS, documents, tmp_path)
    with pytest.raises(UsageError, match="no run to resume"):
        train_decoder(SETTINGS, documents, tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_that_cannot_begin_leaves_nothing(documents: Documents, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputRejected, match="to cut windows of 9000 from"):
        train_decoder(replace(SETTINGS, length=9000), documents, out)
    assert list(out.iterdir()) == []
    with pytest.raises(UsageError, match="bogus is not supported"):
        train_decoder(replace(SETTINGS, trackers=("bogus",)), documents, out)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="name another folder"):
        train_decoder(SETTINGS, documents, tmp_path / "file" / "run")
    train_decoder(replace(SETTINGS, steps=1), documents, out)


def test_no_document_and_no_copy_is_on_both_sides(documents: Documents) -> None:
    doubled = Documents(names=documents.names * 2, texts=documents.texts * 2, origin="twice")
    split = split_documents(doubled, 0.25, seed=3)
    unseen = {text for _, text in split.held_out}
    assert len(unseen) == 6 and not unseen & set(split.training)
    assert unseen | set(split.training) == set(documents.texts)
    assert split_documents(doubled, 0.25, seed=4).held_out != split.held_out


def test_one_text_is_cut_into_blocks_that_make_it_whole_again() -> None:
    text = "".join(f"Paragraph {i} ends.\n\n" for i in range(200))
    split = split_documents(Documents(names=("a",), texts=(text,), origin="a"), 0.1, seed=0)
    assert len(split.training) == 14 and len(split.held_out) == 2
    place = 0
    for part in sorted((*split.training, *(text for _, text in split.held_out)), key=text.index):
        assert part.startswith("Paragraph") and part.endswith("ends.\n\n") and text.index(part) == place
        place += len(part)
    assert place == len(text) and "cut into 16 blocks" in split.notes[0]
    with pytest.raises(InputRejected, match="expected at least two"):
        split_documents(Documents(names=("a",), texts=("x",), origin="a"), 0.5, seed=0)


def test_windows_keep_the_two_sides_apart(documents: Documents, finished: Path, tmp_path: Path) -> None:
    """What is learnt from are runs of training documents with ends between them; what is watched is none of it."""
    tokenizer: Any = load_model(finished).tokenizer
    split = split_documents(documents, SETTINGS.held_out, SETTINGS.seed)
    arguments = training_arguments(SETTINGS, tmp_path)
    watch = ProgressCallback(lambda *_: None, lambda _: None)
    trainer: Any = build_trainer(SETTINGS, arguments, split, tokenizer, watch)
    learnt = ["".join(map(chr, ids)) for ids in encode(tokenizer, split.training)]
    pieces = [
        piece
        for window in trainer.train_dataset.epoch(0)
        for piece in "".join(map(chr, window["input_ids"][1:])).split(chr(tokenizer.eos_token_id))
    ]
    assert len(pieces) > 50 and all(any(piece in text for text in learnt) for piece in pieces)
    watched = ["".join(map(chr, window["input_ids"][1:])) for window in trainer.eval_dataset]
    assert len(watched) > 4 and not any(window in text for window in watched for text in learnt)


def test_the_command_tells_what_the_model_is_worth(documents: Documents, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": t}) + "\n" for t in documents.texts))
    words = ["train", "--out", str(tmp_path / "run"), "--text", str(text), "--steps", "2", "--length", "16"]
    done = CliRunner().invoke(app, [*words, "--vocabulary", "270", "--no-qk-norm", "--untied"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("held out: ") and "nat/token" in done.stdout
    assert "step 2 of 2: loss" in done.stderr
    model = load_model(tmp_path / "run").model
    assert not model.config.qk_norm and model.lm_head.weight is not model.model.embed_tokens.weight
    assert (
        "attention 'linear': expected one of softmax"
        in CliRunner().invoke(app, [*words, "--attention", "linear"]).stderr
    )
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 5 and refused.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_leaves_whole_checkpoints_and_says_so(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes while the second checkpoint is being written: a file of it is there, its mark is not."""

    def send(self: ProgressCallback, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            os.kill(os.getpid(), number)
        written(self, args, state, control)

    written = ProgressCallback.on_save
    monkeypatch.setattr(ProgressCallback, "on_save", send)
    words = ["train", "--out", str(tmp_path / "run"), "--steps", "6", "--length", "16", "--save-every", "2"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests behind it
    try:
        done = CliRunner().invoke(app, words)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.exit_code == code
    assert done.stderr.splitlines()[-1].endswith(
        "ed after checkpoint-2: resume with --resume (nothing was left half-written)"
    )
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]


@pytest.mark.slow
def test_killed_it_goes_on_bitwise(tmp_path: Path) -> None:
    settings = RunSettings(steps=200, save_every=30, batch=2, length=32)
    train_decoder(settings, load_documents(), tmp_path / "whole")
    out = tmp_path / "run"
    words = [sys.executable, "-m", "heedful", "train", "--out", str(out), "--steps", "200"]
    words += ["--save-every", "30", "--batch", "2", "--length", "32"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while RunFolder(out).last_checkpoint() is None:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.kill()
    assert not (out / "held_out.json").exists()
    train_decoder(settings, load_documents(), out, resume=True)
    assert_same_weights(out, tmp_path / "whole")
