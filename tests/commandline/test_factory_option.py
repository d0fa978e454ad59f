"""``--factory``: a model of the user's own from the command line to the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file
from tests.loading import material
from tests.loading.own_model import MODULE
from typer.testing import CliRunner

from heedful.app import app
from heedful.loading.factory import load_factory

SMALL = ["--tokenizer", "words", "--text", "a.jsonl", "--seq-len", "24", "--sequences", "18"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own_gpt_for_a_test.py").write_text(MODULE)
    material.make_tokenizer().save_pretrained(tmp_path / "words")
    rows = [json.dumps({"text": material.make_text(6, seed)}) for seed in range(18)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_gpt_for_a_test", None)


def run(command: str, function: str, *more: str) -> Result:
    return CliRunner().invoke(app, [command, "--factory", f"own_gpt_for_a_test:{function}", *SMALL, *more])


def test_the_check_sees_a_model_of_the_users_own(folder: Path) -> None:
    short = SMALL[: SMALL.index("--sequences")]
    result = CliRunner().invoke(app, ["check", "--factory", "own_gpt_for_a_test:build", *short])
    assert result.exit_code == 0, result.stderr
    assert "2 of 2 modules captured (scaled_dot_product_attention), 2 proved both ways" in result.stdout
    assert "note: built by own_gpt_for_a_test:build" in result.stdout


def test_a_model_of_nanogpts_kind_is_validated_with_either_checkpoint(folder: Path) -> None:
    state = load_factory("own_gpt_for_a_test:build", tokenizer="words", seed=3).model.state_dict()
    state = {key: tensor.clone() for key, tensor in state.items()}
    torch.save({"model": state, "iter_num": 1}, "weights.pt")
    save_file(state, "weights.safetensors")
    documents = []
    for name in ("weights.pt", "weights.safetensors"):
        result = run(
            "validate", "build", "--checkpoint", name, "--preset", "quick", "--json", "-", "--null-models", "2"
        )
        documents.append(json.loads(result.stdout))
        assert result.exit_code == (documents[-1]["verdict"] == "FAIL"), result.stderr
    for document in documents:
        assert (document["model"]["class"], document["model"]["heads"]) == ("GPT", 4)
        assert document["data"]["objective"] == "next token"
        integrity = {f["claim"]: f["verdict"] for f in document["sections"][0]["findings"] if f["layer"] is None}
        of_beliefs = {integrity.pop("divergence_is_proper"), integrity.pop("global_rotation_is_unseen")}
        assert (set(integrity.values()), of_beliefs) == ({"PASS"}, {"SKIP"}), integrity
    assert documents[0]["heads"] == documents[1]["heads"]


def test_the_head_table_of_random_weights(folder: Path) -> None:
    result = run("heads", "build", "--json", "-")
    assert result.exit_code == 0 and len(json.loads(result.stdout)) == 4


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("silent", "the model returned None (its forward must take token ids"),
        ("last_alone", "the model returned a tensor (2, 1, 48) for token ids (2, 24)"),
        ("too_small", "the model's forward raised on token ids (2, 24) up to"),
    ],
)
def test_what_a_model_must_offer_is_said_in_one_line(function: str, says: str, folder: Path) -> None:
    result = run("validate", function, "--json", "report.json")
    assert (result.exit_code, result.stdout) == (3, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: own_gpt_for_a_test:{function}: ") and says in last
    assert "logits or hidden states (batch, token, width)" in last
    assert not (folder / "report.json").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["m", "--factory", "a:b"], "leave MODEL m out"),
        (["--factory", "a:b", "--config", "c.json"], "leave --config c.json out"),
        (["--checkpoint", "w.pt"], "expected a file or folder, found none"),
        (["--factory", "a:b"], "--tokenizer"),
        (["--factory", "a.py"], "--tokenizer"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "heads"])
def test_options_that_do_not_go_together(command: str, words: list[str], says: str) -> None:
    result = CliRunner().invoke(app, [command, *words])
    assert result.exit_code == 2 and says in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(("function", "null"), [("build", "2 untrained models"), ("seeded", "constant or trained")])
def test_null_models_come_from_the_factory_where_its_weights_are_random(function: str, null: str, folder: Path) -> None:
    result = run("validate", function, "--preset", "quick", "--null-models", "2", "--null", "untrained", "--json", "-")
    assert result.exit_code in (0, 1), result.stderr
    document = json.loads(result.stdout)
    (found,) = (
        f for f in document["sections"][3]["findings"] if f["claim"] == "heads_are_concentrated" and f["head"] is None
    )
    assert null in found["null"] and "GPT cannot be built" not in found["null"]
    assert (found["p"] is None) is (function == "seeded")


@pytest.mark.parametrize("function", ["hidden_states", "wide_hidden_states"])
def test_a_model_without_a_head_is_judged_but_for_its_loss_and_told_what_to_offer(function: str, folder: Path) -> None:
    result = run("validate", function, "--preset", "quick", "--null-models", "0", "--json", "-")
    assert result.exit_code == 0, result.stderr
    found = {f["claim"]: f for s in json.loads(result.stdout)["sections"] for f in s["findings"] if f["layer"] is None}
    for claim in ("gradients_reach_attention", "attention_output_matters", "ablation_signature"):
        assert found[claim]["verdict"] == "SKIP"
        assert "it has no loss: load it with its language-model or masked-token head" in found[claim]["reason"]
        assert "return logits (batch, token, vocabulary)" in found[claim]["reason"]
