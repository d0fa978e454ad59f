"""The wheel that strangers get: complete, and in an empty environment the three commands of README run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from tests.places import ROOT

pytestmark = pytest.mark.slow

UV = Path(sys.executable).parent / "uv"
LACKING = {
    ("train", "--out", "run"): "heedful[train]",
    ("ngrams", "train", "--arm", "none", "--out", "run"): "heedful[train]",
    ("gauge", "train", "--out", "run"): "heedful[gauge]",
    ("validate", "model.gguf"): "heedful[gguf]",
    ("ngrams", "count", "notes.txt", "--engine", "daft", "--out", "counts"): "heedful[cluster]",
}
"""Commands of README's table of extras, and the extra that each names where it is not installed."""


def run(words: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "heedful"
    left_out = shutil.ignore_patterns(".git", ".venv*", "build", "__pycache__", ".*_cache", "shared", ".hypothesis")
    shutil.copytree(ROOT, source, ignore=left_out)
    installer = ["--installer", "uv"] if UV.exists() else []
    paths = f"{UV.parent}{os.pathsep}{os.environ['PATH']}"
    links = os.environ.get("PIP_FIND_LINKS", "")
    words = [sys.executable, "-m", "build", "--wheel", *installer, "--outdir", str(out), str(source)]
    done = run(words, out, PATH=paths, UV_FIND_LINKS=links)
    if done.returncode != 0 and "hatchling" in done.stdout + done.stderr:
        pytest.skip("hatchling, which builds the wheel, cannot be fetched here")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("heedful-*.whl"))


@pytest.fixture(scope="module")
def empty(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires, and no extra."""
    place = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(place, with_pip=not UV.exists())
    python = str(place / "bin" / "python")
    installer = [str(UV), "pip", "install", "--python", python] if UV.exists() else [python, "-m", "pip", "install"]
    done = run(
        [*installer, "--quiet", "-c", str(ROOT / "constraints-ci.txt"), str(wheel)],
        place,
        UV_FIND_LINKS=os.environ.get("PIP_FIND_LINKS", ""),
    )
    if done.returncode != 0:
        pytest.skip(f"what the wheel requires cannot be fetched here: {done.stderr.strip().splitlines()[-1]}")
    return place / "bin" / "heedful"


def test_the_wheel_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (described,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        facts = Parser().parsestr(archive.read(described).decode())
    for name in (
        "py.typed",
        "assets/default/model.safetensors",
        "reporting/templates/house.css",
        "evaluation/page/html/page.js",
    ):
        assert f"heedful/{name}" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"heedful"}
    assert facts["License-Expression"] == "Apache-2.0" and facts["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in facts.get_all("Classifier", []) and facts["Author"] == "The heedful authors"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(facts.get_all("Provides-Extra", [])) == set(extras)


def test_the_three_commands_run(empty: Path, tmp_path: Path) -> None:
    done = run([str(empty), "check", "--json", "contract.json"], tmp_path)
    assert done.returncode == 0 and "held" in done.stdout, done.stderr[-2000:]
    quick = ["--preset", "quick", "--sequences", "16", "--seq-len", "64", "--null-models", "0"]
    done = run([str(empty), "validate", *quick, "--html", "r.html", "--json", "before.json"], tmp_path)
    assert done.returncode == 0 and (tmp_path / "r.html").stat().st_size > 10_000, done.stderr[-2000:]
    shutil.copy(tmp_path / "before.json", tmp_path / "after.json")
    done = run([str(empty), "compare", "before.json", "after.json", "--fail-on", "effect"], tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads((tmp_path / "before.json").read_text())["schema"] == "heedful.report/1"


@pytest.mark.parametrize("words", LACKING, ids=lambda words: " ".join(words[:2]))
def test_a_command_that_lacks_its_extra_says_so_in_one_line(
    words: tuple[str, ...], empty: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("the cat sat on the mat. " * 40)
    (tmp_path / "model.gguf").write_bytes(gguf())
    done = run([str(empty), *words], tmp_path)
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode in (2, 3) and len(told) == 1, done.stderr[-1000:]
    assert f"pip install '{LACKING[words]}'" in told[0] and "Traceback" not in done.stderr


def gguf() -> bytes:
    """The smallest file that calls itself GGUF: version 3, no tensor, one word of metadata."""
    word = lambda text: len(text).to_bytes(8, "little") + text.encode()  # noqa: E731
    header = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    return header + word("general.architecture") + (8).to_bytes(4, "little") + word("llama")
