"""A derived model trained by the command line, and what the other commands say of it and of one without attention."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.ngrams.derivation.texts import HELD_OUT

from heedful.app import main

SIZES = ("--set", "width = 96", "--set", "head_dim=16", "--set", "inner=32", "--set", "heads=2", "--set", "furthest=1")
SHORT = ("--steps", 4, "--save-every", 2, "--batch", 2, "--length", 32, "--tokenizer", "characters", "--held-out", 0.5)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("derived")
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()
    (place / "text.jsonl").write_text("\n".join(lines[:40]), encoding="utf-8")
    words = ("--text", place / "text.jsonl", *SIZES, *SHORT, "--track-every", 2)
    assert run("ngrams", "train", *words, "--out", place / "frozen") == 0
    assert run("ngrams", "train", *words, "--arm", "none", "--out", place / "none") == 0
    return place


def test_a_model_with_frozen_attention_is_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ("--text", folder / "frozen" / "held_out.jsonl", "--seq-len", 32, "--sequences", 20)
    assert run("validate", folder / "frozen", *text, "--json", folder / "report.json") in (0, 1)
    report = json.loads((folder / "report.json").read_text())
    findings = {one["claim"]: one for section in report["sections"] for one in section["findings"]}
    gradients = findings["gradients_reach_attention"]
    assert gradients["verdict"] == "SKIP" and "all are frozen; frozen: 4" in gradients["reason"]
    assert findings["capture_matches_output"]["verdict"] == "PASS"
    assert findings["attention_output_matters"]["verdict"] not in ("SKIP", "UNDEFINED")
    assert "19 draws of random query and key projections" in findings["heads_are_concentrated"]["null"]
    capsys.readouterr()
    assert run("check", folder / "frozen", "--seq-len", 32) == 0
    assert "1 of 1 modules captured" in capsys.readouterr().out
    assert run("watch", folder / "frozen") == 0
    assert "3 recorded steps from step 1 to 4" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["validate", "check", "watch"])
def test_a_model_without_attention_gets_one_line(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    length = () if command == "watch" else ("--seq-len", 32)
    assert run(command, folder / "none", *length) == 3
    message = "".join(capsys.readouterr())
    assert "no attention" in message and len(message.strip().splitlines()) == 1


def test_counts_of_characters_are_taken_and_those_without_any_mark_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, words = folder / "text.jsonl", (*SIZES, *SHORT[:-4], "--held-out", 0.5)
    assert run("ngrams", "count", text, "--n", "1", "--skip", "0..1", "--out", tmp_path / "counts") == 0
    assert run("ngrams", "train", tmp_path / "counts", "--text", text, *words, "--out", tmp_path / "run") == 0
    assert "may have been counted" in json.loads((tmp_path / "run" / "run.json").read_text())["notes"][-1]
    assert (
        run("ngrams", "align", tmp_path / "run", tmp_path / "counts", "--text", text, "--seq-len", 32, "--sequences", 4)
        == 0
    )
    bpe = ("--tokenizer", "bpe", "--vocabulary", 300)
    assert run("ngrams", "count", text, "--n", "1", "--skip", "0..1", *bpe, "--out", tmp_path / "pieces") == 0
    capsys.readouterr()
    assert run("ngrams", "train", tmp_path / "pieces", "--text", text, *words, "--out", tmp_path / "no") == 3
    message = capsys.readouterr().err
    assert "names no begin or end of a text" in message and "leave COUNTS out" in message
    assert len(message.strip().splitlines()) == 1 and not (tmp_path / "no").exists()
