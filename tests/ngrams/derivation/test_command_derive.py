"""From a text to counts, from counts to a model, and the model held against the counts, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.ngrams.derivation.texts import HELD_OUT
from transformers import AutoModelForCausalLM

from heedful.app import main


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("derive")
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()
    (place / "train.jsonl").write_text("\n".join(lines[:12]), encoding="utf-8")
    (place / "test.jsonl").write_text("\n".join(lines[12:32]), encoding="utf-8")
    assert (
        run("ngrams", "count", place / "train.jsonl", "--n", "1..2", "--skip", "0..1", "--out", place / "counts") == 0
    )
    return place


def test_derived_attention_agrees_with_its_counts_on_other_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, record = folder / "model", folder / "align.json"
    assert run("ngrams", "derive", folder / "counts", "--set", "width=96", "--set", "inner=16", "--out", model) == 0
    page = capsys.readouterr().out
    assert "Matrices are tied to embeddings" in " ".join(page.split()) and "Head 0 (skip 0): fits." in page
    assert max(map(len, page.splitlines())) <= 80
    assert AutoModelForCausalLM.from_pretrained(model).config.embedding_fingerprint
    words = ("--text", folder / "test.jsonl", "--seq-len", 32, "--sequences", 20, "--json", record)
    assert run("ngrams", "align", model, folder / "counts", *words) == 0
    page = capsys.readouterr().out
    assert "L0H0 n1 s0" in page and max(map(len, page.splitlines())) <= 80
    head = json.loads(record.read_text(encoding="utf-8"))["heads"][0]
    assert head["gain"]["low"] > 0.8 * head["uniform"]["estimate"]
    assert head["gain"]["n"] == 20


def test_the_published_recipe_is_there_with_its_faults(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--set", "furthest=1", "--set", "heads=2", "--set", "layers=2", "--set", "width=64", "--json", "-")
    assert run("ngrams", "derive", folder / "counts", "--recipe", "seed", *words, "--out", folder / "seed") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["embedding"] is None
    assert [(head["n"], head["skip"]) for head in record["heads"]] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert record["heads"][0]["queries_and_keys"]["singular_values"][0] == pytest.approx(1.0)


def test_offset_heads_are_as_long_as_they_tell_tokens_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--set", "furthest=1", "--set", "inner=0")
    assert run("ngrams", "derive", folder / "counts", "--recipe", "offset", *small, "--out", folder / "back") == 0
    assert "Sequences of at most 233 tokens" in " ".join(capsys.readouterr().out.split())
    more = ("--recipe", "offset", *small, "--length", 234, "--out", folder / "longer")
    assert run("ngrams", "derive", folder / "counts", *more) == 2


def test_logits_spread_as_those_of_a_reference_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--set", "width=96", "--set", "inner=8", "--set", "heads=2", "--set", "furthest=1", "--json", "-")
    assert (
        run("ngrams", "derive", folder / "counts", "--reference", HELD_OUT.parent, *words, "--out", folder / "like")
        == 0
    )
    record = json.loads(capsys.readouterr().out)
    assert record["recipe"]["calibration"] == "reference" and record["reference"]["model"] == str(HELD_OUT.parent)
    wanted = record["reference"]["spreads"][0]
    assert all(value > 0 for value in wanted)
    assert [one["fits"] for one in record["pairings"]] == [True, False]
    assert run("ngrams", "explain", folder / "like", folder / "counts", "--json", folder / "like.json") == 0
    assert json.loads((folder / "like.json").read_text(encoding="utf-8"))["recipe"]["calibration"] == "reference"


@pytest.mark.fault
@pytest.mark.parametrize("spreads", [None, [], [[]], [["1.0"]], [[-1.0]], [[True]], 3])
def test_a_reference_without_spreads_is_refused(
    tmp_path: Path, spreads: object, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"recipe": {"calibration": "reference"}, "seed": 0, "reference": {"model": "m", "spreads": spreads}}
    (tmp_path / "derivation.json").write_text(json.dumps(record), encoding="utf-8")
    assert run("ngrams", "explain", tmp_path, tmp_path) == 3
    message = capsys.readouterr().err
    assert "expected the spreads of its reference model's logits" in message and len(message.strip().splitlines()) == 1


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--recipe", "best"), "--recipe 'best': expected one of seed, corrected, offset"),
        (("--set", "width"), "--set 'width': expected FIELD=VALUE"),
        (("--set", "calibration=reference"), "calibration=reference wants --reference MODEL"),
        (("--reference", "any", "--set", "calibration=raw"), "goes with calibration=reference; came raw"),
        (("--set", "positions=alibi"), "the recipe makes no model: positions = 'alibi': expected one of none"),
        (("--recipe", "offset", "--set", "furthest=1", "--set", "head_dim=4"), "too few dimensions to attend back"),
        (
            ("--recipe", "offset", "--set", "furthest=1", "--length", 256),
            "attend back among 256 tokens (--length 233 at most, or --set head_dim=128)",
        ),
        (("--set", "embedding=orthonormal", "--set", "width=8"), "a width of at least the vocabulary"),
        (("--set", "encoder=joint_pseudo_inverse"), "wants the position vectors that are added"),
        (
            ("--set", "encoder=joint_pseudo_inverse", "--set", "positions=sinusoidal", "--set", "width=32"),
            "directions of positions; came 32",
        ),
        (("--set", "subtracted=position_shift"), "wants positions learned or sinusoidal"),
        (("--set", "outputs=orthogonal", "--set", "head_dim=400"), "1 skips x head_dim 400 = 400; came 256"),
        (("--set", "depth=3"), "'depth' is no field of a recipe"),
        (("--set", "heads=9", "--set", "furthest=8"), "no table of n = 1, skip 2; there are"),
    ],
)
def test_what_cannot_be_derived(
    folder: Path, tmp_path: Path, words: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ngrams", "derive", folder / "counts", *words, "--out", tmp_path / "model") == 2
    summary = capsys.readouterr().err
    assert message in summary and len(summary.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.fault
def test_folders_that_are_not_free_or_not_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("kept", encoding="utf-8")
    assert run("ngrams", "derive", folder / "counts", "--out", tmp_path) == 5
    assert "not an empty folder" in capsys.readouterr().err
    assert run("ngrams", "derive", tmp_path, "--out", tmp_path / "model") == 3
    assert run("ngrams", "align", folder / "nothing", folder / "counts") in (2, 3)


@pytest.mark.fault
def test_counts_of_another_tokenizer_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    default = HELD_OUT.parent
    assert run("ngrams", "align", default, folder / "counts", "--sequences", 4) == 3
    assert "counted with another tokenizer" in capsys.readouterr().err


def test_a_derived_model_is_explained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--set", "layers=1", "--set", "heads=1", "--set", "longest=1", "--set", "furthest=0", "--set", "width=64")
    assert run("ngrams", "derive", folder / "counts", "--recipe", "seed", *words, "--out", folder / "lost") == 0
    capsys.readouterr()
    page = folder / "why.html"
    assert run("ngrams", "explain", folder / "lost", folder / "counts", "--html", page) == 0
    message = " ".join(capsys.readouterr().out.split())
    assert "have nothing to do with the affinity" in message and "0.001 L0" in message
    assert "<img alt=" in page.read_text(encoding="utf-8")
    assert run("ngrams", "explain", folder / "counts", folder / "counts") == 3
    assert "has no derivation.json" in capsys.readouterr().err


@pytest.mark.fault
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("command", ["explain", "align"])
def test_a_weight_that_is_no_number_is_named(
    folder: Path, tmp_path: Path, command: str, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--set", "width=32", "--set", "inner=0", "--set", "head_dim=16")
    assert run("ngrams", "derive", folder / "counts", *small, "--out", tmp_path / "model") == 0
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.layers.0.attention.q_proj.weight"][3, 5] = value
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    assert run("ngrams", command, tmp_path / "model", folder / "counts") == 3
    message = capsys.readouterr().err
    assert "model.layers.0.attention.q_proj.weight holds 1 entry NaN or infinite" in message
    assert len(message.strip().splitlines()) == 1


def test_counts_that_a_model_was_not_derived_from_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted again, or with more tables, they are the same; of other text by the same tokenizer, they are not."""
    tokens = ("--tokenizer", folder / "counts" / "tokenizer.json")
    for name, text, more in (("again", "train", ("--n", 1, "--skip", 0)), ("other", "test", ("--n", 1))):
        assert run("ngrams", "count", folder / f"{text}.jsonl", *tokens, *more, "--out", tmp_path / name) == 0
    small = ("--set", "width=64", "--set", "inner=0")
    assert run("ngrams", "derive", folder / "counts", *small, "--out", tmp_path / "model") == 0
    record = tmp_path / "model" / "derivation.json"

    def notes(counts: Path) -> list[str]:
        capsys.readouterr()
        assert run("ngrams", "explain", tmp_path / "model", counts, "--json", tmp_path / "why.json", "--force") == 0
        assert "Note: " not in (page := capsys.readouterr().out) or "derived from" in " ".join(page.split())
        return list(json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))["notes"])

    assert notes(folder / "counts") == [] and notes(tmp_path / "again") == []
    assert "are not the counts that the model was derived from" in notes(tmp_path / "other")[0]
    old = json.loads(record.read_text(encoding="utf-8"))
    del old["counts"]["digest"]
    record.write_text(json.dumps(old), encoding="utf-8")
    assert "is unknown" in notes(folder / "counts")[0]


def test_text_is_read_where_the_recipe_wants_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text("Too short.", encoding="utf-8")
    words = ("--set", "width=64", "--set", "inner=0", "--text", tmp_path / "short.txt")
    assert run("ngrams", "derive", folder / "counts", *words, "--out", tmp_path / "raw") == 0
    for wanted in ("calibration=divergence", "calibration=logit_sd", "value_calibration=residual"):
        assert run("ngrams", "derive", folder / "counts", *words, "--set", wanted, "--out", tmp_path / "fitted") == 3
        assert "expected a document of 32 tokens" in capsys.readouterr().err
