"""README and pages keep their promises: their Python runs, their commands and options exist, their files are there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tests.places import DOCS, ROOT

README = ROOT / "README.md"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
TRUSTED = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", DOCS / "index.md", DOCS / "compression.md", *HOW_TO]
TRUSTED += [DOCS / "faq.md", DOCS / "gallery" / "index.md", DOCS / "sweeps" / "README.md"]
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
MODEL_FREE = {"ngrams.md", "plain-pytorch.md", "gpu.md", "long-inputs.md"}
"""How-to pages whose code takes a second or two; the others take some more."""


def blocks(page: Path, language: str) -> list[str]:
    """Code of a page, but for what a comment above it calls not run."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [code for skipped, kind, code in found if kind == language and not skipped]


def commands(page: Path) -> Iterator[list[str]]:
    """Words after ``heedful`` of every command of a page."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "heedful" in words and words[0] in ("heedful", "torchrun"):
                yield words[words.index("heedful") + 1 :]


def unknown(words: list[str]) -> list[str]:
    """What a command line has that heedful doesn't: a command, or options. ``sweep PLAN`` leaves its ``run`` out."""
    from heedful.app import app
    from heedful.commandline.commands import COMMANDS

    found: Any = typer.main.get_command(app)
    context = found.context_class(found, info_name="heedful")
    while hasattr(found, "commands"):
        if words[0] not in found.commands and COMMANDS.get("sweep") is not None and context.info_name == "sweep":
            words = ["run", *words]
        if not words or words[0] not in found.commands:
            return words[:1]
        found, context = found.commands[words[0]], found.context_class(found, info_name=words[0], parent=context)
        words = words[1:]
    known = {
        option for parameter in found.get_params(context) for option in (*parameter.opts, *parameter.secondary_opts)
    }
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("page", TRUSTED, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    for words in commands(page):
        assert unknown(words) == [], f"{page.name}: heedful {' '.join(words)}"


def test_an_unknown_option_is_found() -> None:
    assert unknown(["validate", "x", "--no-such-option"]) == ["--no-such-option"]
    assert unknown(["validates"]) == ["validates"] and unknown(["sweep", "kappa", "--out", "x"]) == []


def test_readme_is_short_and_begins_with_what_a_stranger_needs() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert [words[0] for words in commands(README)][:3] == ["check", "validate", "compare"]
    snippets = blocks(README, "python")
    assert len(snippets) == 3
    assert all(len([line for line in one.splitlines() if line.strip()]) <= 6 for one in snippets)
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("validate", "test", "site"):
        assert f"make {target}" in text and f"\n{target}: " in made


@pytest.mark.parametrize("page", TRUSTED, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\":]+)\"", text):
        path = next(filter(None, target))
        made = "reference/" in path or path.startswith("project/") or "/project/" in path
        assert made or (page.parent / path).exists(), f"{page.name}: {path}"


def test_every_extra_of_the_table_is_one() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = set(re.findall(r"heedful\[(\w+)\]", README.read_text(encoding="utf-8")))
    assert named == set(extras) - {"docs", "test"}


def run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the Python of a page, block after block in one namespace, in a folder of its own."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "page"}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for number, block in enumerate(blocks(page, "python")):
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)  # code of this repository
    return said.getvalue()


def test_the_code_of_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(README, tmp_path, monkeypatch)
    assert "effective_keys" in said


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=() if page.name in MODEL_FREE else pytest.mark.slow)
        for page in HOW_TO
        if blocks(page, "python")
        and page.name not in ("packing.md", "watch-training.md")  # a script of its own; tests/monitoring runs it
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(page, tmp_path, monkeypatch)
