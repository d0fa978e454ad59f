"""Counts that are empty, tiny, cut, forged or of another tokenizer, and models that they cannot speak of."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ngrams.counting.material import signed
from tests.ngrams.derivation.texts import HELD_OUT
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from heedful.app import main
from heedful.ngrams.counting.reading import read_counts

pytestmark = pytest.mark.fault
SMALL = ("--set", "width=64", "--set", "inner=8", "--set", "head_dim=16")


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Counts, a derived model of them, counts of one token, of one letter, of another tokenizer."""
    made = tmp_path_factory.mktemp("counts")
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()
    (made / "text.jsonl").write_text("\n".join(lines[:4]), encoding="utf-8")
    (made / "one.txt").write_text("x", encoding="utf-8")
    (made / "same.txt").write_text("a" * 200, encoding="utf-8")
    (made / "short.txt").write_text("And he said", encoding="utf-8")
    for name, text, more in (
        ("counts", "text.jsonl", ("--n", "1..2")),
        ("one", "one.txt", ()),
        ("same", "same.txt", ("--n", "1..2")),
        ("bpe", "text.jsonl", ("--tokenizer", "bpe", "--vocabulary", "280")),
    ):
        assert run("ngrams", "count", made / text, "--out", made / name, *more) == 0
    assert run("ngrams", "derive", made / "counts", *SMALL, "--out", made / "model") == 0
    return made


def cut(folder: Path) -> None:
    path = folder / "n1.s0.0000.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def cut_manifest(folder: Path) -> None:
    path = folder / "counts.json"
    path.write_text(path.read_text(encoding="utf-8")[:200], encoding="utf-8")


def not_a_number(folder: Path) -> None:
    """Counts of NaN, checksums and all."""
    import polars

    path, manifest = folder / "n1.s0.0000.parquet", folder / "counts.json"
    frame = polars.read_parquet(path).with_columns(polars.lit(float("nan")).alias("count"))
    frame.write_parquet(path)
    tree = json.loads(manifest.read_text(encoding="utf-8"))
    table = next(one for one in tree["tables"] if (one["n"], one["skip"]) == (1, 0))
    content = path.read_bytes()
    table["files"][0].update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    signed(folder, tables=tree["tables"])


def unfinished(folder: Path) -> None:
    signed(folder, complete=False)


@pytest.mark.parametrize("command", ["derive", "explain", "align"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "it was cut or changed"),
        (cut_manifest, "not a manifest of counts"),
        (not_a_number, "expected the columns"),
        (unfinished, "counting was begun and not finished"),
    ],
    ids=["cut", "manifest", "nan", "unfinished"],
)
def test_damaged_counts(
    command: str,
    damage: Callable[[Path], None],
    says: str,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, page = tmp_path / "counts", tmp_path / "page.html"
    shutil.copytree(place / "counts", folder)
    damage(folder)
    capsys.readouterr()
    words: tuple[object, ...] = (place / "model", folder, "--html", page)
    if command == "derive":
        words = (folder, "--out", tmp_path / "model")
    assert run("ngrams", command, *words) == 3
    message = capsys.readouterr()
    assert says in message.err and str(folder) in message.err and len(message.err.strip().splitlines()) == 1
    assert not message.out and sorted(path.name for path in tmp_path.iterdir()) == ["counts"]


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("derive {one} --out {out}", 3, "its table of n = 1, skip 0 is empty: no document has 2 tokens"),
        ("align {model} {one}", 3, "its table of n = 1, skip 0 is empty"),
        ("align {model} {counts} --n 3", 2, "no table of n = 3, skip 0; there are"),
        ("align {model} {counts} --skip 2", 2, "no table of n = 1, skip 2; there are"),
        ("align {model} {bpe}", 3, "counted with another tokenizer"),
        ("align {model} {counts} --held-out-counts {bpe}", 3, "counted with another tokenizer"),
        ("align {model} {counts} --held-out-counts {counts}", 3, "its text text.jsonl is one that"),
        ("align {model} {counts} --held-out-counts {text}", 3, "found no counts.json"),
        ("align {model} {counts} --figures {text}", 5, "text.jsonl"),
        ("explain {model} {counts} --figures {text}", 5, "text.jsonl"),
        ("explain {model} {bpe}", 3, "counted with another tokenizer"),
        ("explain {model} {counts} --text {short}", 3, "expected a document of 32 tokens, found at most 11"),
        ("explain {model} {counts} --text {absent}", 2, "absent.txt"),
        ("derive {counts} --text {short} --set calibration=divergence --out {out}", 3, "expected a document of 32"),
        ("derive {counts} --set width=wide --out {out}", 2, "width: expected a whole number, such as 256; came 'wide'"),
        ("derive {counts} --set affinity=best --out {out}", 2, "'best'"),
        ("derive {counts} --set target=nan --out {out}", 2, "target"),
        ("derive {counts} --set embedding=orthonormal --set width=16 --out {out}", 2, "wants a width of at least"),
        ("derive {counts} --out {model}", 5, "not an empty folder, nothing was changed"),
        ("derive {counts} --set layers=3 --set longest=3 --set query=last_token --out {out}", 2, "no table of n = 3"),
    ],
)
def test_what_counts_cannot_be_used_for(
    command: str, code: int, says: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {name: place / name for name in ("counts", "one", "bpe", "model")}
    names |= {"text": place / "text.jsonl", "short": place / "short.txt", "absent": place / "absent.txt"}
    before = sorted(place.rglob("*"))
    capsys.readouterr()
    assert run("ngrams", *command.format(out=tmp_path / "out", **names).split()) == code
    message = capsys.readouterr()
    assert says in message.err and len(message.err.strip().splitlines()) == 1 and not message.out
    assert not list(tmp_path.iterdir()) and sorted(place.rglob("*")) == before


def test_counts_of_one_letter_are_a_stated_result(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A context that one token always follows: no skill can be told, and no head is praised for rounding."""
    assert run("ngrams", "derive", place / "same", *SMALL, "--out", tmp_path / "model") == 0
    assert "2 of 16" in capsys.readouterr().out
    assert run("ngrams", "align", tmp_path / "model", place / "same", "--text", place / "same.txt", "--seq-len", 8) == 0
    message = " ".join(capsys.readouterr().out.split())
    assert "The text is one that was counted" in message and "No head is beyond both" in message
    assert "Skill is undefined: the counts expect equal weights in every row." in message
    assert run("ngrams", "explain", tmp_path / "model", place / "same", "--text", place / "same.txt") == 3
    assert "there is no attention to explain" in capsys.readouterr().err


def test_a_rank_beyond_the_matrix_is_told(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = read_counts(place / "counts").manifest.vocabulary
    assert (
        run("ngrams", "derive", place / "counts", "--set", "width=96", "--set", "head_dim=400", "--out", tmp_path / "m")
        == 0
    )
    kept = next(line.split() for line in capsys.readouterr().out.splitlines() if "of 400" in line)
    assert int(kept[kept.index("of") - 1]) <= size


def test_a_bidirectional_model_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = read_counts(place / "counts")
    config = BertConfig(
        vocab_size=counts.manifest.vocabulary, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    PreTrainedTokenizerFast(tokenizer_object=counts.tokenizer).save_pretrained(tmp_path / "bert")
    capsys.readouterr()
    assert run("ngrams", "align", tmp_path / "bert", place / "counts", "--sequences", 4, "--seq-len", 16) == 3
    message = capsys.readouterr().err
    assert "its queries see later tokens" in message and len(message.strip().splitlines()) == 1
    assert run("ngrams", "explain", tmp_path / "bert", place / "counts") == 3
    assert "has no derivation.json" in capsys.readouterr().err
