"""Faults of output: S18 S19 S22, F30-F34, F42-F44, F46. What stood there before is whole, and the exit code tells."""

import ast
import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.evaluation.page import factory
from tests.places import TESTS

import heedful
from heedful.errors import InputRejected, OutputError
from heedful.evaluation.head_files import save_heads
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.page.terminal import terminal_text
from heedful.reporting import write as writing
from heedful.reporting.write import write_atomic

pytestmark = pytest.mark.fault


ROOMS = TESTS / "commandline" / "rooms.py"
SOURCES = sorted(Path(heedful.__file__).parent.rglob("*.py"))


def command(*words: str, **options: object) -> subprocess.Popen[bytes]:
    """A command line in a process of its own; the first word says what the stand-in of ``validate`` does."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, str(ROOMS), *words], **streams)  # type: ignore[call-overload]


@contextlib.contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mount {' '.join(words)}: not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_s18_a_number_that_is_not_finite_is_null(number: float) -> None:
    finding = factory.finding(estimate=number, interval=(number, number), p=number, detail={"x": [number]}, reason="")
    section = factory.Section(number=1, title="x", findings=[finding])
    report = factory.small(sections=[section], heads=[factory.head(statistics={"a": number})], summary={"x": number})
    document = json.loads(to_json(report), parse_constant=lambda word: pytest.fail(word))
    assert document["sections"][0]["findings"][0]["estimate"] is None
    assert len(document["summary"]["non_finite"]) == 7
    terminal_text(report)


def test_s19_a_symbolic_link_leaves_its_target_whole(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "report.json"
    victim.write_text("precious")
    link.symlink_to(victim)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="symbolic link"):
            write_atomic(link, "new", overwrite=overwrite)
    assert victim.read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == [link, victim]


def test_s19_a_temporary_name_that_is_taken_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(writing.secrets, "token_hex", lambda size: "0" * 16)
    trap = tmp_path / f".heedful-{os.getpid()}-{'0' * 16}.tmp"
    trap.symlink_to(victim)
    with pytest.raises(OutputError):
        write_atomic(tmp_path / "report.json", "new", overwrite=True)
    assert victim.read_text() == "precious"
    assert trap.is_symlink()
    assert not (tmp_path / "report.json").exists()


def test_s22_nothing_reads_pickled_objects_from_arrays() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            keywords = node.keywords if isinstance(node, ast.Call) else []
            allowed = [word for word in keywords if word.arg == "allow_pickle" and ast.unparse(word.value) != "False"]
            assert not allowed, f"{path.name}: allow_pickle"


def test_s22_report_and_command_line_know_no_pickle() -> None:
    for path in SOURCES:
        if path.parent.name in ("report", "cli"):
            names = {
                word.name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import)
                for word in node.names
            }
            assert not names & {"pickle", "shelve", "marshal"}, path.name


def made(path: Path) -> None:
    """A page at the path, or figures where it has no suffix."""
    from heedful.evaluation.command_report import Outputs

    Outputs(**({"html": path} if path.suffix else {"figures": path}), force=True).write(factory.realistic())


@pytest.mark.parametrize("name", ["report.html", "figures"])
def test_f31_a_page_or_figure_that_may_not_grow_leaves_the_old_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    made(path)
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=r"[\d,]+ bytes are needed, [\d,]+ are free"):
            made(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


@pytest.mark.parametrize("name", ["report.html", "figures"])
def test_f34_a_page_or_figure_stopped_while_it_is_written_leaves_the_old_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    made(path)
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}

    def stop(*_words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        made(path)
    monkeypatch.undo()
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


def test_s19_a_page_or_figure_in_the_place_of_a_link_leaves_its_target_whole(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "figures").mkdir()
    for link in (tmp_path / "report.html", tmp_path / "figures" / "ablation_forest.png"):
        link.symlink_to(victim)
        with pytest.raises(OutputError, match="symbolic link"):
            made(link if link.suffix == ".html" else link.parent)
        assert link.is_symlink()
    assert victim.read_text() == "precious"


def test_f30_a_page_that_was_lost_is_made_again_from_its_document(tmp_path: Path) -> None:
    from heedful.evaluation.command_report import Outputs
    from heedful.evaluation.page.html.page import to_html

    document, page = tmp_path / "report.json", tmp_path / "report.html"
    Outputs(json=document, html=page).write(factory.realistic())
    page.unlink()
    Outputs(html=page).write(from_json(document.read_bytes()))
    assert page.read_text() == to_html(from_json(to_json(factory.realistic())))


def test_f32_a_page_on_a_read_only_file_system(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    with mounted(tmp_path, "--bind", "-o", "ro", str(tmp_path)):
        with pytest.raises(OutputError, match="cannot be written"):
            made(tmp_path / "report.html")
        assert (tmp_path / "report.html").read_text() == "old"


WRITER = """
import sys
from heedful.reporting.write import write_atomic
while True:
    for letter in "ab":
        write_atomic(sys.argv[1], letter * 300_000, overwrite=True)
"""


def test_f30_a_report_is_whole_whenever_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for wait in (0.0, 0.003, 0.011, 0.03, 0.05):
        path.write_text("a" * 300_000)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        while (seen := path.read_text()) == "a" * 300_000 and writer.poll() is None:
            pass
        assert seen == "b" * 300_000
        time.sleep(wait)
        writer.kill()
        writer.wait()
        assert path.read_text() in ("a" * 300_000, "b" * 300_000)


def test_f31_a_file_that_may_not_grow_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=r"100,000 bytes are needed, [\d,]+ are free"):
            write_atomic(path, "x" * 100_000, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_f31_a_full_disk_leaves_the_old_files(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        path, table = tmp_path / "report.json", tmp_path / "heads.parquet"
        write_atomic(path, "old", overwrite=False)
        with pytest.raises(OutputError, match=r"no space left: 200,000 bytes are needed, [\d,]+ are free"):
            write_atomic(path, b"x" * 200_000, overwrite=True)
        with pytest.raises(OutputError, match="no space left"):
            save_heads([factory.head(reason=os.urandom(50_000).hex()) for _ in range(4)], table, overwrite=False)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


def test_f32_a_device_is_not_replaced() -> None:
    with pytest.raises(OutputError, match="no regular file"):
        write_atomic("/dev/full", "x", overwrite=True)
    assert Path("/dev/full").is_char_device()


def test_f32_standard_output_that_is_full_is_an_output_error() -> None:
    with open("/dev/full", "wb") as full:
        left = command("report", "validate", stdout=full)
        _, err = left.communicate(timeout=60)
    assert (left.returncode, err) == (5, b"error: standard output: No space left on device (free some space)\n")


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_f32_help_that_cannot_be_written_is_an_output_error(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        left = command("report", *words, stdout=full)
        assert b"error: standard output" in left.communicate(timeout=60)[1]
    assert left.returncode == 5


def test_f32_folders_and_missing_parents(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "a" / "b", "does not exist"),
        (f"{tmp_path}/x/", "folder"),
    ):
        with pytest.raises(OutputError, match=said):
            write_atomic(path, "x", overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_f32_a_read_only_file_system(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("old")
    with mounted(tmp_path, "--bind", "-o", "ro", str(tmp_path)):
        with pytest.raises(OutputError, match="cannot be written"):
            write_atomic(tmp_path / "report.json", "x", overwrite=True)
        assert (tmp_path / "report.json").read_text() == "old"


def test_f33_the_other_name_of_a_hard_link_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    os.link(tmp_path / "victim", tmp_path / "report.json")
    write_atomic(tmp_path / "report.json", "new", overwrite=True)
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "report.json").read_text() == "new"


def test_f33_a_pipe_does_not_block_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(OutputError, match="no regular file"):
        write_atomic(tmp_path / "report.json", "x", overwrite=True)
    assert (tmp_path / "report.json").is_fifo()


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, b"interrupted"), (signal.SIGTERM, 143, b"terminated")]
)
def test_f34_stopped_while_measuring(number: int, code: int, word: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests behind it
    try:
        left = command("wait", "validate", "--json", str(path))
    finally:
        signal.signal(signal.SIGINT, before)
    assert left.stderr is not None
    assert left.stderr.readline() == b"waiting\n"
    began = time.monotonic()
    left.send_signal(number)
    out, err = left.communicate(timeout=30)
    assert time.monotonic() - began < 5  # the bound of the fault table
    assert (left.returncode, out) == (code, b"")
    assert err.startswith(b"error: heedful: " + word)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
def test_f34_stopped_while_writing(
    step: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def stop(*_words: object) -> None:
        raise error

    monkeypatch.setattr(writing.os, step, stop)
    with pytest.raises(error):
        write_atomic(path, "new", overwrite=True)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_f42_odd_surroundings_change_no_byte_of_the_json_and_break_no_page() -> None:
    odd = {"LC_ALL": "C", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "HOME": "/nonexistent", "COLUMNS": "60"}
    odd |= {"PYTHONOPTIMIZE": "2", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    plain = command("report", "validate", "--json", "-")
    strange = command("report", "validate", "--json", "-", env={**os.environ, **odd})
    assert plain.communicate(timeout=60) == strange.communicate(timeout=60)
    page = command("report", "validate", env={**os.environ, **odd, "NO_COLOR": "1"})
    out, err = page.communicate(timeout=60)
    assert (page.returncode, err) == (0, b"")
    assert b"[1/9] Correctness \\u2713 >=\n" in out
    assert out.isascii()
    assert max(map(len, out.splitlines())) == 60


def test_f43_a_reader_that_leaves_early_is_no_error() -> None:
    for words in (["validate"], ["validate", "--json", "-"], ["--help"]):
        with command("report", *words) as left:
            left.stdout.close()  # type: ignore[union-attr]
            assert left.stderr.read() == b""  # type: ignore[union-attr]
        assert left.returncode == 141


def test_f44_nothing_ever_asks() -> None:
    asking = {"input", "getpass", "confirm", "prompt", "getchar"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert name not in asking, f"{path.name}:{node.lineno}"
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" "{ROOMS}" report validate <&-'], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_f46_a_newer_schema_and_a_cut_file_are_rejected() -> None:
    text = to_json(factory.realistic())
    with pytest.raises(InputRejected, match="schema 3 > 1") as newer:
        from_json(text.replace("heedful.report/1", "heedful.report/3"))
    with pytest.raises(InputRejected) as cut:
        from_json(text[:-20])
    assert newer.value.exit_code == cut.value.exit_code == 3
