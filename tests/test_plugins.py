"""What another package adds by the entry-point group ``heedful.plugins``, and where entry points are not read from."""

import json
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest
import torch
import typer
from tests.cases import attention_call

import heedful
from heedful import plugins
from heedful.app import main
from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.commandline import commands
from heedful.commandline.commands import Command
from heedful.errors import CallError
from heedful.evaluation import nine_sections
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict
from heedful.plugins import Registry
from heedful.reporting.json_values import RECORDS, RecordReader

SITE = Path(sysconfig.get_paths()["purelib"])
SOURCE = Path(heedful.__file__).parents[1]
ADDED = '''
import sys

from heedful.attention.registry import statistic
from heedful.commandline.commands import COMMANDS, Command
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict


@statistic(needs=("max_weight",), unit="share", bounds=(0.0, 1.0), source="this test")
def heaviest_share(rows):
    """Largest weight of a row, under another name."""
    return rows.max_weight


@check(section=1, source="this test", descriptive=True)
def model_has_parameters(study):
    """Says that it was asked."""
    yield Finding(claim="model_has_parameters", verdict=Verdict.INFO, reason="asked by a plugin", source="this test")


def hello() -> None:
    """Says hello."""
    sys.stdout.write("hello from a plugin\\n")


COMMANDS.add("hello", Command(hello, "Say hello from a plugin."))
'''
ENTRIES = """
[heedful.plugins]
statistics.tiny = tiny_plugin
checks.tiny = tiny_plugin
commands.tiny = tiny_plugin
statistics.broken = tiny_plugin_that_is_not_there
"""


def wheel(folder: Path, name: str, code: str, entries: str) -> Path:
    """A wheel of one module, made as the format says: a zip file with the module and what describes it."""
    facts = f"{name}-1.0.dist-info"
    made = folder / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}.py": code,
        f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{facts}/entry_points.txt": entries,
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{facts}/RECORD"])
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in {**files, f"{facts}/RECORD": record}.items():
            archive.writestr(path, text)
    return made


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with heedful, what it needs, and one more package that pip installed."""
    room = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", room], check=True, timeout=120)
    python = room / "bin" / "python"
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    facts = Path(str(distribution("heedful")._path))  # type: ignore[attr-defined]
    shutil.copytree(facts, site / facts.name)
    (site / "shared.pth").write_text(f"{SOURCE}\n{SITE}\n")
    made = wheel(room, "tiny_plugin", ADDED, ENTRIES)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(made)], check=True, timeout=120)
    return python


def ran(python: Path, words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    code = f"from heedful.app import main; main({words!r})"
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "COLUMNS")}
    return subprocess.run(
        [python, "-P", "-c", code], capture_output=True, text=True, cwd=folder, timeout=300, env=kept, check=False
    )


@pytest.mark.slow
def test_an_installed_package_adds_a_statistic_a_check_and_a_command(environment: Path, tmp_path: Path) -> None:
    shown = ran(environment, ["--help"], tmp_path)
    assert shown.returncode == 0 and "hello" in shown.stdout and "Say hello from a plugin." in shown.stdout
    assert ran(environment, ["hello"], tmp_path).stdout == "hello from a plugin\n"
    words = ["validate", "--preset", "quick", "--sequences", "8", "--json", "report.json"]
    validated = ran(environment, words, tmp_path)
    assert validated.returncode in (0, 1), validated.stderr
    assert "model_has_parameters" in validated.stdout and "asked by a plugin" in validated.stdout
    assert "heaviest_share over heads" in validated.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    for head in report["heads"]:
        assert head["statistics"]["heaviest_share"] == head["statistics"]["max_weight"]
    warned = [line for line in validated.stderr.splitlines() if "tiny_plugin_that_is_not_there" in line]
    assert len(warned) == 1 and "left out" in warned[0]
    assert "Traceback" not in validated.stderr


@pytest.mark.slow
def test_nothing_is_read_from_the_current_folder(environment: Path, tmp_path: Path) -> None:
    facts = tmp_path / "lying_here-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lying_here\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[heedful.plugins]\ncommands.lying = lying_here\n")
    (tmp_path / "lying_here.py").write_text("import pathlib\npathlib.Path('executed').touch()\n")
    for before in ("", "import sys; sys.path.insert(0, ''); ", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "):
        code = f"{before}from heedful.app import main; main(['--help'])"
        done = subprocess.run([environment, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0 and not (tmp_path / "executed").exists()


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_failed", set())


def given(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    found = [plugins.Found(False, EntryPoint(f"shapes.{name}", name, plugins.GROUP)) for name in modules]
    monkeypatch.setattr(plugins, "entries", lambda plural: found if plural == "shapes" else [])


@pytest.mark.parametrize("failure", ["RuntimeError('a reason\\nover two lines')", "SystemExit('a reason')"])
def test_a_module_that_fails_is_one_warning_and_adds_nothing(
    failure: str,
    failed: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shapes: Registry[int] = Registry("shapes", "shape")
    others: Registry[int] = Registry("others", "other")
    monkeypatch.setattr(plugins, "SHAPES", shapes, raising=False)
    monkeypatch.setattr(plugins, "OTHERS", others, raising=False)
    half, whole = f"half_{len(failure)}", f"whole_{len(failure)}"
    (tmp_path / f"{half}.py").write_text(
        f"from heedful import plugins\nplugins.SHAPES.add('circle', 0)\nplugins.OTHERS.add('b', 0)\nraise {failure}\n"
    )
    (tmp_path / f"{whole}.py").write_text("from heedful import plugins\nplugins.SHAPES.add('square', 4)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    given(monkeypatch, half, whole, half)
    with caplog.at_level(logging.WARNING, "heedful.plugins"):
        assert dict(shapes) == {"square": 4} and list(shapes) == ["square"] and list(others) == []
    name = failure.partition("(")[0]
    assert [record.getMessage() for record in caplog.records] == [
        f"plugin shapes.{half} ({half}) was left out: {name}: a reason"
    ]


def test_a_plugin_is_not_imported_from_the_current_folder(
    failed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lies_in_the_folder.py").write_text("import pathlib\npathlib.Path('executed').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    given(monkeypatch, "lies_in_the_folder")
    before = list(sys.path)
    assert list(Registry("shapes", "shape")) == [] and not (tmp_path / "executed").exists()
    assert sys.path == before and "was left out: ModuleNotFoundError" in caplog.text


def test_the_first_read_of_several_threads_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[int] = Registry("shapes", "shape")

    def slow(found: plugins.Found) -> None:
        time.sleep(0.05)
        registry.add(found.entry.name, 1)

    given(monkeypatch, "one", "two")
    monkeypatch.setattr(plugins, "_load", slow)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: len(registry), range(4))) == {2}


@pytest.mark.parametrize("text", ["[console_scripts]\njunk without equals\n", "\xff\xfe"])
def test_damaged_metadata_of_any_package_is_one_warning(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    facts = tmp_path / "damaged-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: damaged\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_bytes(text.encode("latin-1"))
    monkeypatch.setattr(plugins, "site_directories", lambda: [str(SITE), str(tmp_path)])
    with caplog.at_level(logging.WARNING, "heedful.plugins"):
        found = plugins._every_entry.__wrapped__()
    assert sum(one.own for one in found) > 10
    assert len(caplog.records) == 1 and "damaged-1.0.dist-info" in caplog.text


def test_an_unknown_kind_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    facts = tmp_path / "misspelt-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: misspelt\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[heedful.plugins]\ncommand.one = somewhere\n")
    monkeypatch.setattr(plugins, "site_directories", lambda: [str(SITE), str(tmp_path)])
    with caplog.at_level(logging.WARNING, "heedful.plugins"):
        plugins._every_entry.__wrapped__()
    assert "plugin command.one was left out: its name begins with none of statistics, checks" in caplog.text


def test_two_packages_without_a_name_are_both_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one-1.0.dist-info", "other-1.0.dist-info"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "METADATA").write_text("Metadata-Version: 2.1\nVersion: 1.0\n")
        (tmp_path / folder / "entry_points.txt").write_text("[heedful.plugins]\nstatistics.mine = shared_module\n")
    monkeypatch.setattr(plugins, "site_directories", lambda: [str(SITE), str(tmp_path)])
    found = [one for one in plugins._every_entry.__wrapped__() if one.entry.value == "shared_module"]
    assert len(found) == 2 and not any(one.own for one in found)


def test_without_its_own_entry_points_heedful_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_every_entry", lambda: ())
    with pytest.raises(RuntimeError, match="install heedful"):
        list(Registry("statistics", "statistic"))


def test_a_failure_of_heedful_s_own_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    own = plugins.Found(True, EntryPoint("shapes.own", "heedful.no_such_module", plugins.GROUP))
    monkeypatch.setattr(plugins, "entries", lambda plural: [own])
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        list(Registry("shapes", "shape"))


def test_a_command_in_no_group_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    strange = {words: Command(lambda: None, "Nothing.") for words in ("nowhere hello", "ngrams deep hello", "hello")}
    monkeypatch.setattr(commands, "COMMANDS", {**strange, "ngrams": Command(None, "A group.")})
    made = typer.Typer()
    commands.add_commands(made)
    assert [one.name for one in made.registered_commands] == ["hello"] and len(caplog.records) == 2


def test_a_statistic_that_fails_is_named() -> None:
    rows = tiled(attention_call(heads=2, kv_heads=1)).rows
    facts = next(iter(STATISTICS.values()))
    assert facts.of(rows).shape == rows.visible.shape
    with pytest.raises(CallError, match="statistic mine: expected one number a row"):
        replace(facts, name="mine", compute=lambda moments: torch.zeros(())).of(rows)
    with pytest.raises(CallError, match="statistic mine: ZeroDivisionError"):
        replace(facts, name="mine", compute=lambda moments: 1 / 0).of(rows)


@pytest.mark.parametrize("told", ["failed: ZeroDivisionError", "gave 3", "gave no finding", "gave Finding"])
def test_a_check_of_another_package_that_fails_is_a_finding(told: str) -> None:
    given_back = {
        "failed: ZeroDivisionError": lambda study: 1 / 0,
        "gave 3": lambda study: [3],
        "gave no finding": lambda study: [],
        "gave Finding": lambda study: [Finding(claim="another", verdict=Verdict.PASS, reason="r", source="s")],
    }[told]
    facts = replace(CHECKS["rows_sum_to_one"], name="mine", judge=given_back)
    (found,) = nine_sections._own_words(None, facts)  # type: ignore[arg-type]
    assert found.verdict is Verdict.ERROR and f"check mine {told}" in found.reason


def test_a_name_is_registered_once() -> None:
    registry: Registry[int] = Registry("nothing", "thing")
    registry.add("one", 1)
    with pytest.raises(ValueError, match="thing 'one' is registered twice"):
        registry.add("one", 2)


def test_heedful_is_the_first_user_of_its_own_door() -> None:
    kinds = {found.entry.name.partition(".")[0] for found in plugins._every_entry() if found.own}
    assert kinds == set(plugins.KINDS)


def test_report_shows_a_record_that_has_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(data: bytes, *, name: str) -> dict[str, object]:
        return dict(json.loads(data))

    def show(record: dict[str, object], stream: object) -> None:
        sys.stdout.write(f"seven is {record['seven']}\n")

    monkeypatch.setitem(RECORDS, "another.record", RecordReader(read, show))
    stored = tmp_path / "record.json"
    stored.write_text('{"schema": "another.record/1", "seven": 7}')
    with pytest.raises(SystemExit) as left:
        main(["report", str(stored)])
    assert left.value.code == 0 and capsys.readouterr().out == "seven is 7\n"
    with pytest.raises(SystemExit) as left:
        main(["report", str(stored), "--html", str(tmp_path / "page.html")])
    assert left.value.code == 2 and "only a heedful.report has pages" in capsys.readouterr().err
