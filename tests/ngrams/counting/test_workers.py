"""Counting in several processes: equal bytes, errors in one line, nothing left behind."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.ngrams.counting import material

from heedful.errors import HeedfulError, InputRejected, OutputError
from heedful.loading.text_corpus import TextCorpus
from heedful.loading.token_encoder import TokenEncoder, made_bpe, made_characters
from heedful.ngrams.counting import workers
from heedful.ngrams.counting.count import count
from heedful.ngrams.counting.counting import CountSettings
from heedful.ngrams.counting.counting import count as count_corpus
from heedful.ngrams.counting.shard import ShardRecord, specs
from heedful.ngrams.counting.workers import ShardJob, counted_records, serve

WORDS = "the quick brown fox jumps over a lazy dog é\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    lines = [" ".join(f"word{token}" for token in document) for document in material.zipf(300, 40, 200)]
    place = tmp_path / "a.txt"
    place.write_text(WORDS + "\n".join(lines), encoding="utf-8")
    return place


def job_of(text: Path, out: Path) -> ShardJob:
    corpus = TextCorpus([text], shard_bytes=9000)
    (out / "shards").mkdir(parents=True)
    encoder = TokenEncoder(made_characters(corpus.strings()), "characters", made_here=True)
    return ShardJob(corpus, encoder, out, tuple(specs((1, 2), (0,))), 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def children() -> list[str]:
    """Worker processes of this one that still run."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        if (
            fields[0] != "Z"
            and int(fields[1]) == os.getpid()
            and b"counting.workers" in place.with_name("cmdline").read_bytes()
        ):
            found.append(place.parent.name)
    return found


@pytest.mark.parametrize("tokenizer", ["characters", "bpe"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(tokenizer: str, text: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        count(text, tmp_path / str(number), tokenizer=tokenizer, vocabulary=300, shard_bytes=9000, workers=number)
    one = contents(tmp_path / "1")
    assert len(one) >= 5 and contents(tmp_path / "2") == one and contents(tmp_path / "3") == one
    assert not children()


def test_a_worker_counts_what_comes_in_and_sends_records_or_errors(text: Path, tmp_path: Path) -> None:
    job = job_of(text, tmp_path / "out")
    asked, answers = io.BytesIO(pickle.dumps(job) + pickle.dumps(0) + pickle.dumps(10**6)), io.BytesIO()
    serve(asked, answers)
    answers.seek(0)
    record, error = pickle.load(answers), pickle.load(answers)
    assert isinstance(record, ShardRecord) and record.tokens > 8000
    assert isinstance(error, HeedfulError) and "shard 1000000: IndexError" in str(error)


def test_made_tokenizers_are_those_of_transformers(text: Path) -> None:
    strings = list(TextCorpus([text]).strings())
    for made in (made_characters(strings), made_characters(strings, 9, ("[BOS]", "[PAD]")), made_bpe(strings, 280)):
        one, other = (TokenEncoder(each, "x") for each in (made, made.of_transformers()))
        assert one.fingerprint == other.fingerprint and one.unknown == other.unknown


def test_an_encoder_comes_back_from_a_pickle(text: Path) -> None:
    strings = list(TextCorpus([text]).strings())
    for made in (made_characters(strings), made_bpe(strings, 280)):
        encoder = TokenEncoder(made, "x", made_here=True)
        again = pickle.loads(pickle.dumps(encoder))
        pieces = list(TextCorpus([text], shard_bytes=9000).pieces(0))
        one, other = (list(each.encode(pieces, 3)) for each in (encoder, again))
        assert [each.ids.tolist() for each in one] == [each.ids.tolist() for each in other]
        assert (again.fingerprint, again.size, again.unknown) == (encoder.fingerprint, encoder.size, encoder.unknown)


def test_errors_come_back_from_a_pickle() -> None:
    for error in (InputRejected("a.txt", "was cut", "copy it"), OutputError("no room"), HeedfulError("ended")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.exit_code) == (type(error), str(error), error.exit_code)


def test_an_error_of_a_worker_is_that_of_the_count(text: Path, tmp_path: Path) -> None:
    job = job_of(text, tmp_path / "out")
    with text.open("a") as file:
        file.write("more")
    with (
        pytest.raises(InputRejected, match=r"a\.txt"),
        counted_records(job, range(len(job.corpus.shard_bytes)), 2) as records,
    ):
        list(records)
    assert not children()


def test_a_worker_that_is_killed_ends_the_count_in_one_line_and_resume_goes_on(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = workers.count_shard

    def kills(out: Path, number: int, *rest: object) -> ShardRecord:
        """This process kills the other, and then has no shard to count itself until that was seen."""
        for child in children():
            os.kill(int(child), signal.SIGKILL)
        for _ in range(500):
            if not children():
                break
            time.sleep(0.01)
        return real(out, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "count_shard", kills)
    out = tmp_path / "out"
    with pytest.raises(HeedfulError, match=r"a process that counts shards? ?\d* has ended \(go on with --resume"):
        count(text, out, shard_bytes=9000, workers=2)
    monkeypatch.setattr(workers, "count_shard", real)
    assert not children() and not list(out.glob("**/.heedful-*"))
    count(text, out, shard_bytes=9000, workers=2, resume=True)
    count(text, tmp_path / "whole", shard_bytes=9000, workers=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_stop_leaves_no_process_and_nothing_half_written(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stops(done: int, total: int, what: str) -> None:
        if what == "MiB counted" and list(out.glob("shards/0*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count(text, out, shard_bytes=9000, workers=3, progress=stops)
    assert not children() and not list(out.glob("shards/.heedful-*"))
    count(text, out, shard_bytes=9000, resume=True, workers=2)
    count(text, tmp_path / "whole", shard_bytes=9000, workers=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_worker_imports_nothing_from_the_current_folder(text: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("random", "pickle", "polars", "tokenizers", "heedful"):
        (trap / f"{name}.py").write_text("open('ran', 'w')\n")
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if p not in ('', '.')]\n"
        "from heedful.ngrams.counting.count import count\n"
        f"count({str(text)!r}, {str(tmp_path / 'out')!r}, shard_bytes=9000, workers=2)\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], cwd=trap, check=True)
    assert not (trap / "ran").exists()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_ray_counts_the_same_bytes(text: Path, tmp_path: Path) -> None:
    for engine in ("polars", "ray"):
        count(text, tmp_path / engine, shard_bytes=9000, engine=engine, workers=1)
    assert contents(tmp_path / "ray") == contents(tmp_path / "polars")


def test_settings_of_workers(text: Path, tmp_path: Path) -> None:
    for wrong in (0, -1, True):
        with pytest.raises(HeedfulError, match="--workers"):
            count(text, tmp_path / "out", workers=wrong)
    assert not (tmp_path / "out").exists()
    with pytest.raises(HeedfulError, match="--workers"):
        count_corpus(material.Numbers([[1, 2]]), material.Codes(3), tmp_path / "out", CountSettings(workers=0))
