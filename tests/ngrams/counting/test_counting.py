import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ngrams.counting import material
from tests.oracles import ngram_loops as loops
from typer.testing import CliRunner

from heedful.app import app
from heedful.errors import InputRejected, OutputError, UsageError
from heedful.loading.corpus import Piece, TokenPiece
from heedful.loading.text_corpus import TextCorpus
from heedful.ngrams.counting import counting, workers
from heedful.ngrams.counting.counting import CountSettings, count
from heedful.ngrams.counting.manifest import place_of
from heedful.ngrams.counting.reading import read_counts
from heedful.ngrams.counting.shard import ENGINES, polars_sum

DOCUMENTS = material.zipf(40, 30, 20)
SETTINGS = CountSettings(n=(1, 2, 3), skips=(0, 1, 3))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shards", [1, 3, 100])
def test_tables_are_those_of_the_loops(shards: int, tmp_path: Path) -> None:
    manifest = count(material.Numbers(DOCUMENTS, shards), material.Codes(20), tmp_path / "counts", SETTINGS)
    found = read_counts(tmp_path / "counts")
    for n, skip in [(0, 0), *((n, skip) for n in SETTINGS.n for skip in SETTINGS.skips)]:
        wanted = loops.pair_counts(DOCUMENTS, n, skip)
        assert material.as_counter(found.table(n, skip)) == wanted and wanted
        facts = found.facts(n, skip)
        assert (facts.total, facts.pairs) == (sum(wanted.values()), len(wanted))
        assert facts.contexts == len({context for context, _ in wanted})
        assert facts.once == sum(value == 1 for value in wanted.values())
        assert facts.coverage == pytest.approx(1 - facts.once / facts.total)
    assert manifest.tokens == sum(map(len, DOCUMENTS)) == found.tokens.sum()
    assert manifest.documents == sum(bool(document) for document in DOCUMENTS) < len(DOCUMENTS)
    assert not (tmp_path / "counts" / "shards").exists()


class Deaf(material.Codes):  # type: ignore[name-defined,misc]
    """Makes no token of 0."""

    def encode(self, pieces: Iterable[Piece], past: int) -> Iterator[TokenPiece]:
        for piece in super().encode(pieces, past):
            heard = piece.ids > 0
            yield TokenPiece(piece.ids[heard], int(heard[: piece.own].sum()), piece.opens)


def test_documents_without_a_token_are_none(tmp_path: Path) -> None:
    documents = [[0, 0], [1, 2, 0, 3], [0], [4], [], [0, 0, 0]]
    manifest = count(material.Numbers(documents, 2), Deaf(20), tmp_path / "counts")
    assert (manifest.documents, manifest.tokens) == (2, 4)
    assert material.as_counter(read_counts(tmp_path / "counts").table(1, 0)) == loops.pair_counts(
        [[1, 2, 3], [4]], 1, 0
    )


def test_a_large_table_is_merged_in_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count(material.Numbers(DOCUMENTS, 4), material.Codes(20), tmp_path / "whole", SETTINGS)
    monkeypatch.setattr(counting, "RANGE_ROWS", 100)
    monkeypatch.setattr(counting, "_STEP", 10)
    count(material.Numbers(DOCUMENTS, 4), material.Codes(20), tmp_path / "ranges", SETTINGS)
    whole, ranged = read_counts(tmp_path / "whole"), read_counts(tmp_path / "ranges")
    assert len(ranged.facts(3, 0).files) > 3 and len(whole.facts(3, 0).files) == 1
    for one in ranged.manifest.tables:
        assert material.as_counter(ranged.table(one.n, one.skip)) == material.as_counter(whole.table(one.n, one.skip))


@pytest.mark.slow
def test_both_engines_write_the_same_bytes(tmp_path: Path) -> None:
    for engine in ("polars", "daft"):
        settings = CountSettings(n=(1, 2), skips=(0, 1), engine=engine)
        count(material.Numbers(DOCUMENTS, 3), material.Codes(20), tmp_path / engine, settings)
    assert contents(tmp_path / "polars") == contents(tmp_path / "daft")
    from daft.scarf_telemetry import opted_out

    assert opted_out()  # nothing is sent anywhere


def test_a_run_that_is_gone_on_with_counts_the_rest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count(material.Numbers(DOCUMENTS, 5), material.Codes(20), tmp_path / "whole", SETTINGS)
    real, out = workers.count_shard, tmp_path / "stopped"

    def stops(folder: Path, number: int, *rest: object) -> object:
        if number == 3:
            raise KeyboardInterrupt
        return real(folder, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "count_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        count(material.Numbers(DOCUMENTS, 5), material.Codes(20), out, SETTINGS)
    monkeypatch.setattr(workers, "count_shard", real)
    with pytest.raises(InputRejected, match="begun and not finished"):
        read_counts(out)
    with pytest.raises(OutputError, match="give --resume"):
        count(material.Numbers(DOCUMENTS, 5), material.Codes(20), out, SETTINGS)
    cut = place_of(out, 1) / "n3.s0.parquet"
    cut.write_bytes(cut.read_bytes()[:-9])
    corpus = material.Numbers(DOCUMENTS, 5)
    again = CountSettings(n=SETTINGS.n, skips=SETTINGS.skips, resume=True)
    count(corpus, material.Codes(20), out, again)
    assert corpus.read == [1, 3, 4]  # the damaged shard and what was not counted yet
    assert contents(out) == contents(tmp_path / "whole")
    count(corpus, material.Codes(20), out, again)
    assert corpus.read == [1, 3, 4]


def test_a_finished_count_that_was_damaged_is_not_called_whole(tmp_path: Path) -> None:
    out = tmp_path / "counts"
    count(material.Numbers(DOCUMENTS, 5), material.Codes(20), out, SETTINGS)
    again = CountSettings(n=SETTINGS.n, skips=SETTINGS.skips, resume=True)
    file = out / read_counts(out).facts(2, 0).files[0].name
    sound = file.read_bytes()
    file.write_bytes(sound[:100])
    with pytest.raises(InputRejected, match="cut or changed"):
        count(material.Numbers(DOCUMENTS, 5), material.Codes(20), out, again)
    file.write_bytes(sound[:50] + bytes([sound[50] ^ 1]) + sound[51:])
    with pytest.raises(InputRejected, match="checksum"):
        count(material.Numbers(DOCUMENTS, 5), material.Codes(20), out, again)


@pytest.mark.slow
def test_a_killed_run_loses_one_shard_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "counts"
    lines = [" ".join(f"word{token}" for token in document) for document in material.zipf(1500, 60, 500)]
    text.write_text("\n".join(lines), encoding="utf-8")
    words = ["ngrams", "count", str(text), "--n", "1..2", "--shard-bytes", "9000", "--workers", "1", "--out"]
    process = subprocess.Popen([sys.executable, "-m", "heedful", *words, str(out)], stderr=subprocess.PIPE)
    while len(list(out.glob("shards/[0-9]*/shard.json"))) < 4 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {int(path.parent.name) for path in out.glob("shards/[0-9]*/shard.json")}
    assert process.returncode == -signal.SIGKILL and len(kept) >= 4
    real, read_again = TextCorpus.pieces, []
    monkeypatch.setattr(TextCorpus, "pieces", lambda self, shard: (read_again.append(shard), real(self, shard))[1])
    assert CliRunner().invoke(app, [*words, str(out), "--resume"]).exit_code == 0
    shards = len(read_counts(out).manifest.shard_bytes)
    assert read_again == [number for number in range(shards) if number not in kept] and shards > 20
    assert CliRunner().invoke(app, [*words, str(tmp_path / "whole")]).exit_code == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_another_counting_is_refused(tmp_path: Path) -> None:
    out, corpus = tmp_path / "counts", material.Numbers(DOCUMENTS)
    count(corpus, material.Codes(20), out, SETTINGS)
    same = {"n": SETTINGS.n, "skips": SETTINGS.skips, "resume": True}
    with pytest.raises(UsageError, match="begun with n 1,2,3, now 1"):
        count(corpus, material.Codes(20), out, CountSettings(**{**same, "n": (1,)}))
    other = material.Codes(20)
    other.fingerprint = "f" * 64
    with pytest.raises(UsageError, match=r"begun with tokenizer .*, now ffffffffffff"):
        count(corpus, other, out, CountSettings(**same))
    with pytest.raises(InputRejected, match=r"0.txt: is not the text that .* was begun with"):
        count(material.Numbers([[1, 2, 3, 4], *DOCUMENTS[1:]]), material.Codes(20), out, CountSettings(**same))
    with pytest.raises(UsageError, match=r"begun with texts \(40 of them\), now \(39 of them\)"):
        count(material.Numbers(DOCUMENTS[:-1]), material.Codes(20), out, CountSettings(**same))


@pytest.mark.parametrize("wrong", [{"n": ()}, {"n": (0,)}, {"skips": (-1,)}, {"n": (True,)}])
def test_numbers_that_cannot_be_counted(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="expected whole numbers from"):
        CountSettings(**wrong)


def test_an_unknown_engine_and_a_folder_in_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--engine spark: expected one of polars, daft"):
        count(material.Numbers(DOCUMENTS), material.Codes(20), tmp_path / "a", CountSettings(engine="spark"))
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("kept")
    with pytest.raises(OutputError, match="not an empty folder, nothing was changed"):
        count(material.Numbers(DOCUMENTS), material.Codes(20), tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["mine"]
    with counting._alone(tmp_path), pytest.raises(OutputError, match="another process"), counting._alone(tmp_path):
        pass


def test_unknown_tokens_are_counted_once_however_a_document_is_cut(tmp_path: Path) -> None:
    """Pieces of five tokens, of which each is the past of the next."""
    documents = [[1, 2, 3, 4, 1, 1, 5, 6, 7, 1, 8, 9, 1], [2, 3, 1]]
    manifest = count(material.Numbers(documents, 2), material.Codes(20, unknown=1), tmp_path / "counts", SETTINGS)
    assert (manifest.unknown, manifest.tokens) == (6, 16)


def test_a_text_that_becomes_unknown_is_refused(tmp_path: Path) -> None:
    documents = [[2, 3, 4], [1, 1, 1, 1], [1, 1, 1, 1]]
    with pytest.raises(InputRejected, match="73% of its tokens are unknown"):
        count(material.Numbers(documents, 3), material.Codes(20, unknown=1), tmp_path / "counts")


@pytest.mark.parametrize("change", ["lost", "twice"])
def test_a_merge_that_is_not_the_sum_of_the_shards_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*asked: Any) -> Any:
        frame = polars_sum(*asked)
        return frame[1:] if change == "lost" else frame.vstack(frame[:1])

    monkeypatch.setitem(ENGINES, "polars", wrong)
    with pytest.raises(InputRejected, match=r"shards hold [\d,]+ counts, their sum [\d,]+"):
        count(material.Numbers(DOCUMENTS, 2), material.Codes(20), tmp_path / "counts")


@pytest.mark.parametrize(("documents", "notes"), [([[7]], 3), ([[7] * 50], 0), ([[1, 2], [3]], 2)])
def test_tiny_corpora_are_counted_as_they_are(documents: list[list[int]], notes: int, tmp_path: Path) -> None:
    """One token; one token again and again; contexts longer than the documents."""
    settings = CountSettings(n=(1, 2, 3))
    manifest = count(material.Numbers(documents), material.Codes(20), tmp_path / "counts", settings)
    found = read_counts(tmp_path / "counts")
    for n in settings.n:
        assert material.as_counter(found.table(n)) == loops.pair_counts(documents, n, 0)
    assert len(manifest.notes) == notes
    assert all("so nothing was counted" in note for note in manifest.notes)


def test_no_token_and_unknown_tokens_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    out = tmp_path / "counts"
    with pytest.raises(InputRejected, match="makes no token"):
        count(material.Numbers([[]]), material.Codes(20), out)
    with pytest.raises(InputRejected, match="67% of its tokens are unknown"):
        count(material.Numbers([[1, 1, 2]]), material.Codes(20, unknown=1), out)
    with pytest.raises(InputRejected, match="gives token id 30, its vocabulary has 20"):
        count(material.Numbers([[1, 30]]), material.Codes(20), out)
    assert not list(out.iterdir())
    manifest = count(material.Numbers([[1, 1, 2, 3, 4]]), material.Codes(20, unknown=1), out)
    assert manifest.unknown == 2 and manifest.notes[0].startswith("40% of the tokens are unknown")


def test_the_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = count(material.Numbers(DOCUMENTS), material.Codes(20), tmp_path / "counts")
    assert read_counts(tmp_path / "counts").manifest == manifest
    assert json.loads((tmp_path / "counts" / "counts.json").read_text())["schema"] == "heedful.counts/1"
