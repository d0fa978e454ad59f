"""The suite by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.ngrams.derivation.texts import HELD_OUT

from heedful.app import main
from heedful.ngrams.remedies import remedy


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("remedy")
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()
    (place / "train.jsonl").write_text("\n".join(lines[:12]), encoding="utf-8")
    (place / "test.jsonl").write_text("\n".join(lines[12:32]), encoding="utf-8")
    assert run("ngrams", "count", place / "train.jsonl", "--n", "1", "--out", place / "counts") == 0
    words = ("--n", "1", "--tokenizer", place / "counts" / "tokenizer.json")
    assert run("ngrams", "count", place / "test.jsonl", *words, "--out", place / "other") == 0
    return place


def test_a_ladder_from_counts_to_forms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    record, page = folder / "r.json", folder / "r.html"
    words = ("--text", folder / "test.jsonl", "--held-out-counts", folder / "other", "--sequences", 24, "--seeds", 1)
    chosen = ("--rungs", "log_p,baselines", "--set", "width=128", "--json", record, "--html", page)
    assert run("ngrams", "remedy", folder / "counts", *words, *chosen) == 0
    message = capsys.readouterr().out
    assert "VERDICT" in message and max(map(len, message.splitlines())) <= 80
    found = json.loads(record.read_text(encoding="utf-8"))
    known = {one["name"]: one for one in found["remedies"]}
    assert found["width"] == 128 and found["documents"] > 4 and page.stat().st_size > 10_000
    assert known["log_p"]["agreement"]["skill"]["low"] > 0.8 > known["exact_m"]["agreement"]["skill"]["high"]
    assert known["log_p"]["unseen"]["skill"]["low"] > 0.5
    assert "heedful ngrams count --n 1..2 --skip 0..3" in found["skipped"]["offsets_0_to_3"]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--variants", "magic"), "--variants magic: no variant or group of that name"),
        (("--variants", "log_q"), "variants of a like name: log_p"),
        (("--rungs", "oracle_2"), "counts of n=2 skip=0 are missing (heedful ngrams count --n 1..2 --skip 0)"),
        (("--set", "width=7"), "expected an even whole number"),
        (("--set", "affinity=pmi"), "expected width=N or head_dim=N"),
    ],
)
def test_what_cannot_be_measured(
    folder: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert (
        run(
            "ngrams", "remedy", folder / "counts", *words, "--text", folder / "test.jsonl", "--json", folder / "no.json"
        )
        == 2
    )
    summary = capsys.readouterr().err
    assert message in summary and len(summary.strip().splitlines()) == 1 and not (folder / "no.json").exists()


@pytest.mark.fault
def test_text_and_counts_that_do_not_serve(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "short.txt").write_text("a few words", encoding="utf-8")
    assert run("ngrams", "remedy", folder / "counts", "--text", folder / "short.txt") == 3
    assert "give more text, or a smaller --length" in capsys.readouterr().err
    assert (
        run("ngrams", "count", folder / "test.jsonl", "--n", "1", "--tokenizer", "seed", "--out", folder / "seed") == 0
    )
    capsys.readouterr()
    assert run("ngrams", "remedy", folder / "counts", "--held-out-counts", folder / "seed") == 3
    assert "counted with another tokenizer" in capsys.readouterr().err
    assert run("ngrams", "remedy", folder / "counts", "--held-out-counts", folder / "counts") == 3
    assert "is one that" in capsys.readouterr().err


def test_counted_text_is_not_called_held_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--sequences",
        8,
        "--seeds",
        1,
        "--variants",
        "baselines",
        "--set",
        "width=128",
        "--json",
        folder / "t.json",
    )
    for text, word in (("train", "yes"), ("test", "unknown")):
        capsys.readouterr()
        assert run("ngrams", "remedy", folder / "counts", "--text", folder / f"{text}.jsonl", *words) == 0
        message = " ".join(capsys.readouterr().out.split())
        assert json.loads((folder / "t.json").read_text(encoding="utf-8"))["text_was_counted"] == word
        assert ("Held-out loss" in message) is (word == "unknown") is not ("know it by heart" in message)


@pytest.mark.slow
def test_runs_stand_on_the_ladder_beside_their_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--text", folder / "train.jsonl", "--steps", 30, "--length", 32, "--learning-rate", 0.02)
    sizes = [part for one in ("width=128", "head_dim=16", "inner=16") for part in ("--set", one)]
    for embeddings in ("frozen", "trainable", "linked"):
        out = folder / embeddings
        given = ("--embeddings", embeddings, "--out", out, folder / "counts")
        assert run("ngrams", "train", *given, *words, *sizes) == 0
    derived = folder / "derived"
    assert (
        run(
            "ngrams",
            "derive",
            folder / "counts",
            "--out",
            derived,
            "--set",
            "width=128",
            "--text",
            folder / "test.jsonl",
        )
        == 0
    )
    models = [part for name in ("frozen", "trainable", "linked", "derived") for part in ("--model", folder / name)]
    record = folder / "models.json"
    text = ("--text", folder / "test.jsonl", "--sequences", 24, "--seeds", 1, "--rungs", "models", "--json", record)
    assert run("ngrams", "remedy", folder / "counts", *models, *text) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    found = json.loads(record.read_text(encoding="utf-8"))
    known = {one["name"]: one for one in found["remedies"]}
    skill = {name.partition(":")[0]: one["agreement"]["skill"]["estimate"] for name, one in known.items()}
    assert min(skill[name] for name in ("frozen", "linked", "derived")) > 0.9 > skill["trainable"] + 0.05
    assert known["trainable:L0H0"]["step"]["against"] == "frozen:L0H0"
    learnt = {one["name"]: one["learnt"] for one in found["models"]}
    assert learnt["derived"] is None and learnt["frozen"]["change"] == [0.0] and learnt["trainable"]["change"][0] > 0.05


@pytest.mark.fault
def test_models_that_do_not_fit_the_counts_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("ngrams", "count", folder / "test.jsonl", "--n", "1", "--tokenizer", "seed", "--out", folder / "seedc") == 0
    )
    assert run("ngrams", "derive", folder / "seedc", "--out", folder / "seedm", "--set", "width=128") == 0
    for model, message in ((folder / "seedm", "counted with another tokenizer"), (folder / "gone", "found none")):
        capsys.readouterr()
        assert run("ngrams", "remedy", folder / "counts", "--model", model, "--text", folder / "test.jsonl") == 2
        summary = capsys.readouterr().err.strip()
        assert message in summary and len(summary.splitlines()) == 1


@pytest.mark.parametrize(
    ("tokens", "width", "rank"), [(100, 256, 100), (500, 576, 500), (2_000, 1_088, 1_024), (49_152, 256, 128)]
)
def test_the_width_is_that_of_the_tokens_while_it_can_be(tokens: int, width: int, rank: int) -> None:
    stored = SimpleNamespace(manifest=SimpleNamespace(vocabulary=tokens))
    context = remedy._context_of(stored, 32, [])  # type: ignore[arg-type]
    assert context.width == width and context.exact.head_dim == rank
    assert bool(remedy._narrow(context)) == (width < tokens)
