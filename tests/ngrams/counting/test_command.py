import json
from pathlib import Path

import pytest
from tests.ngrams.counting import material
from tests.oracles import ngram_loops as loops
from typer.testing import CliRunner

from heedful.app import app
from heedful.errors import UsageError
from heedful.loading.corpus import TextFile
from heedful.ngrams.counting.command import count_text
from heedful.ngrams.counting.count import numbers
from heedful.ngrams.counting.manifest import Manifest, TableFacts
from heedful.ngrams.counting.reading import read_counts

runner = CliRunner()
LINES = ["the cat sat on the mat", "the dog sat", "a", "on the mat the cat"] * 5


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("\n".join(LINES), encoding="utf-8")
    return tmp_path / "a.txt"


def invoke(*words: object) -> tuple[int, str, str]:
    result = runner.invoke(app, ["ngrams", "count", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("tokenizer", ["characters", "seed", "bpe"])
def test_counts_of_a_text(tokenizer: str, text: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "counts", tmp_path / "counts.json"
    more = ("--vocabulary", 270) if tokenizer == "bpe" else ()
    asked = (text, "--n", "1..2", "--skip", "0,1", "--documents", "line", "--tokenizer", tokenizer, "--out", out, *more)
    code, stdout, stderr = invoke(*asked, "--json", page, "--shard-bytes", 100)
    assert (code, stderr) == (0, f"wrote {page}\nwrote {out}\n")
    assert max(map(len, stdout.splitlines())) <= 80 and "20 documents" in stdout
    counts = read_counts(out, text=[text])
    documents = [counts.tokenizer.encode(line).ids for line in LINES]
    for n, skip in ((1, 0), (1, 1), (2, 0), (2, 1)):
        assert material.as_counter(counts.table(n, skip)) == loops.pair_counts(documents, n, skip)
        facts = counts.facts(n, skip)
        assert f"{facts.total:,}" in stdout and f"{facts.pairs:,}" in stdout
    document = json.loads(page.read_text())
    assert document["tokens"] == sum(map(len, documents)) and document["tokens_per_second"] > 0
    assert document["tables"][1]["coverage"] == pytest.approx(counts.facts(1).coverage)


def test_the_same_bytes_with_and_without_a_stop(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts"
    asked = (text, "--out", out, "--tokenizer", "bpe", "--vocabulary", 280)
    assert invoke(*asked)[0] == 0
    code, stdout, stderr = invoke(*asked)
    assert (code, stdout) == (5, "") and "give --resume" in stderr
    code, stdout, _ = invoke(*asked, "--resume")
    assert code == 0 and "tokens a second" not in stdout
    code, _, stderr = invoke(text, "--out", out, "--resume")
    assert code == 2 and "begun with tokenizer bpe 280, now characters" in stderr
    text.write_text("the cat changed", encoding="utf-8")
    code, _, stderr = invoke(*asked, "--resume")
    assert code == 3 and "a.txt: is not the text that" in stderr and stderr.count("\n") == 1


def test_json_alone_on_standard_output(text: Path, tmp_path: Path) -> None:
    code, stdout, _ = invoke(text, "--out", tmp_path / "counts", "--json", "-", "--n", 3)
    tree = json.loads(stdout)
    assert code == 0 and tree["schema"] == "heedful.count/1"
    assert [(one["n"], one["skip"]) for one in tree["tables"]] == [(0, 0), (3, 0)]


def test_a_tokenizer_by_path(text: Path, tmp_path: Path) -> None:
    assert invoke(text, "--out", tmp_path / "a")[0] == 0
    assert invoke(text, "--out", tmp_path / "b", "--tokenizer", tmp_path / "a")[0] == 0
    before, after = read_counts(tmp_path / "a"), read_counts(tmp_path / "b", text=[text])
    assert before.manifest.fingerprint == after.manifest.fingerprint
    assert read_counts(tmp_path / "a", tokenizer=after.tokenizer).vocabulary == after.vocabulary
    assert invoke(text, "--out", tmp_path / "c", "--tokenizer", "bpe")[0] == 0
    with pytest.raises(Exception, match="counted with another tokenizer"):
        read_counts(tmp_path / "c", tokenizer=after.tokenizer)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--n", "0"), 2, "--n 0: expected whole numbers from 1 up"),
        (("--n", "3..1"), 2, "--n 3..1"),
        (("--n", "1..100"), 2, "--n 1..100: 100 numbers, expected 64 at most"),
        (("--skip", "-1"), 2, "--skip"),
        (("--n", "40"), 2, "do not fit into 63 bits"),
        (("--engine", "spark"), 2, "--engine spark: expected one of polars, daft"),
        (("--tokenizer", "seed", "--vocabulary", "9"), 2, "only of a learnt tokenizer"),
        (("--tokenizer", "bpe", "--vocabulary", "9"), 2, "expected 257 or more"),
    ],
)
def test_wrong_words_are_one_line(words: tuple[str, ...], code: int, says: str, text: Path, tmp_path: Path) -> None:
    found, stdout, stderr = invoke(text, "--out", tmp_path / "counts", *words)
    assert (found, stdout, stderr.count("\n")) == (code, "", 1) and says in stderr
    assert not (tmp_path / "counts").exists()


@pytest.mark.parametrize(
    ("content", "says"), [("", "nothing but blanks"), ("\u4e2d" * 50, "are unknown to the tokenizer")]
)
def test_texts_that_cannot_be_counted(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    code, stdout, stderr = invoke(tmp_path / "a.txt", "--out", tmp_path / "counts", "--tokenizer", "seed")
    assert (code, stdout, stderr.count("\n")) == (3, "", 1) and says in stderr
    assert not (tmp_path / "counts").exists() or not list((tmp_path / "counts").iterdir())


def test_a_corpus_of_one_token_is_a_stated_result(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    code, stdout, _ = invoke(tmp_path / "a.txt", "--out", tmp_path / "counts", "--n", "1..3")
    assert code == 0 and " ".join(stdout.split()).count("so nothing was counted") == 3


def test_numbers() -> None:
    assert numbers("1..3", "--n") == (1, 2, 3) and numbers("0, 2,2", "--skip", 0) == (0, 2)
    for wrong in ("", "a", "1...3", "1..", "3..1", "12345"):
        with pytest.raises(UsageError, match="expected whole numbers"):
            numbers(wrong, "--n")


def manifest(**other: object) -> Manifest:
    tables = (
        TableFacts(n=0, skip=0, total=900_000_000, contexts=1, pairs=40_000, once=9, files=()),
        TableFacts(n=1, skip=0, total=899_999_000, contexts=40_000, pairs=12_600_000, once=6_300_000, files=()),
        TableFacts(n=3, skip=11, total=0, contexts=0, pairs=0, once=0, files=()),
    )
    facts = {
        "complete": True,
        "tokenizer": "smol\x1b[31m",
        "fingerprint": "0123456789abcdef" * 4,
        "vocabulary": 50_000,
        "documents_are": "auto",
        "texts": tuple(TextFile(f"{number}.txt", 1000, "") for number in range(5)),
        "n": (1, 3),
        "skips": (0, 11),
        "shard_bytes": (5000,),
        "documents": 1,
        "tokens": 900_000_000,
        "unknown": 12,
        "tables": tables,
        "notes": ("a note",),
    }
    return Manifest(**{**facts, **other})  # type: ignore[arg-type]


def test_a_page() -> None:
    text = count_text(manifest(), 10.0)
    assert max(map(len, text.splitlines())) <= 70 and "\x1b" not in text
    words = " ".join(text.split())
    assert "0.txt, 1.txt, 2.txt and 2 more: 5,000 bytes, 1 document" in words
    assert "900,000,000; 40,000 of the 50,000 seen; 12 unknown" in words
    assert "90,000,000 tokens a second, 10.0 s" in words
    # half of the pairs stood once; 6.3 of 900 million positions; 12.6 million of 40,000 x 50,000
    assert "1 0 899,999,000 40,000 12,600,000 50.0 % 99.3 % 0.63 %" in words
    assert "3 11 0 0 0 - - -" in words and "note: a note" in words


def test_no_speed_where_it_is_not_known() -> None:
    assert "tokens a second" not in count_text(manifest())
