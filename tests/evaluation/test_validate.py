from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import heedful
from heedful.errors import UsageError
from heedful.evaluation.validate import LOOKS, _settings

TEXTS = [f"{number} In the beginning God created the heaven and the earth. " * 3 for number in range(4)]


def test_a_model_a_tokenizer_and_texts_give_a_report(tmp_path: Path) -> None:
    loaded = heedful.load_model()
    words = {"seq_len": 16, "preset": "quick", "null_models": 0}
    report = heedful.validate(loaded.model, loaded.tokenizer, TEXTS, **words)
    assert repr(report).startswith(f"Report({report.verdict}: LlamaForCausalLM, ") and len(repr(report)) < 100
    assert report.data["origin"] == "text that was given" and report.data["sequence_length"] == 16
    assert json.loads(report.save(tmp_path / "r.json").read_text())["schema"] == "heedful.report/1"
    assert (report.save(tmp_path / "r.html")).read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("word", "value"),
    [("preset", "quick"), ("null_models", 3), ("null", "untrained"), ("seed", 1), ("sequential", True)],
)
def test_settings_are_given_once(word: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{word}: given twice: as an argument and in settings"):
        heedful.validate(torch.nn.Identity(), settings=heedful.Settings(), **{word: value})


def test_settings_are_settings() -> None:
    with pytest.raises(UsageError, match=r"settings: expected heedful.Settings\(...\), got dict"):
        heedful.validate(torch.nn.Identity(), settings={"preset": "quick"})  # type: ignore[arg-type]


def test_words_become_settings() -> None:
    found = _settings(None, "full", 5, "untrained", True, ("induction",), 7, None)
    assert (found.preset, found.null_models, found.null, found.interim_analyses, found.require, found.seed) == (
        "full",
        5,
        "untrained",
        LOOKS,
        ("induction",),
        7,
    )
    given = heedful.Settings(seed=3, require="induction")  # type: ignore[arg-type]
    assert _settings(given, "standard", None, "random", False, (), 0, None) is given and given.require == ("induction",)
