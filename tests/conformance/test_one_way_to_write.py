"""Nothing of heedful opens a file for writing but `heedful.reporting.write`; each exception has its reason here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.places import ROOT

SOURCE = ROOT / "src" / "heedful"
WRITER = "reporting/write.py"

PATH_WRITES = {"write_text", "write_bytes", "touch", "symlink_to", "hardlink_to"}
LIBRARY_WRITES = {
    "save_pretrained", "save_model", "save_file", "savez", "savez_compressed", "tofile", "savefig", "to_csv",
    "to_parquet", "sink_parquet", "copyfile", "copy2", "copytree", "copyfileobj", "mkstemp", "mkdtemp",
    "TemporaryDirectory", "NamedTemporaryFile", "TemporaryFile", "symlink", "link", "mkfifo", "makedirs", "FileHandler",
}  # fmt: skip
FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC", "O_EXCL"}

ALLOWED = {
    "loading/bounded.py: os.open": "the null device",
    "loading/bounded.py: fdopen": "the null device",
    "loading/parquet_pages.py: os.open": "the null device",
    "commandline/errors.py: os.open": "the null device",
    "ngrams/counting/workers.py: fdopen": "a pipe to the process that asked",
    "loading/gguf.py: TemporaryDirectory": "a new private folder",
    "loading/gguf.py: symlink_to": "inside a new private folder",
    "loading/tokenizer_files.py: TemporaryDirectory": "a new private folder",
    "loading/tokenizer_files.py: write_bytes": "inside a new private folder",
    "loading/given_text.py: TemporaryDirectory": "a new private folder",
    "gauge/command_convert.py: save_pretrained": "inside a filled_folder",
    "loading/given_text.py: write_text": "inside a new private folder",
    "loading/token_encoder.py: write_text": "into the private folder that counting gives",
    "ngrams/derivation/derive.py: save_pretrained": "inside a filled_folder",
    "training/saved_card.py: save_pretrained": "transformers' own method, which it extends by the card",
    "training/decoder_run.py: save_pretrained": "inside a private_folder",
    "training/decoder_run.py: save_model": "inside a private_folder",
    "training/default_model.py: save_pretrained": "inside a private_folder",
    "training/default_model.py: TemporaryDirectory": "a new private folder",
    "training/sweeps/claim.py: TemporaryFile": "a file without a name, for the clock of its file system",
}
"""``file: call`` to the reason."""


def writes(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each call that can open a file for writing, by its name and words."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        whole = ast.unparse(node.func)
        name = whole.rsplit(".", 1)[-1]
        words = [*node.args, *(word.value for word in node.keywords)]
        named = {
            attribute.attr for word in words for attribute in ast.walk(word) if isinstance(attribute, ast.Attribute)
        }
        constants = {word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)}
        in_mode = any(text and set(text) <= set("rwaxbt+U") and set(text) & set("wax+") for text in constants)
        if name in PATH_WRITES | LIBRARY_WRITES or whole in ("os.replace", "shutil.move") or _renames(node, name):
            yield node.lineno, name
        elif (whole in ("os.open", "open", "io.open") or name in ("open", "fdopen")) and (in_mode or named & FLAGS):
            yield node.lineno, whole if whole == "os.open" else name
        elif whole in ("torch.save", "np.save", "numpy.save", "np.memmap"):
            yield node.lineno, whole
        elif name in ("write_parquet", "write_csv", "write_ipc", "write_json") and not _into_memory(node):
            yield node.lineno, name


def _renames(node: ast.Call, name: str) -> bool:
    """A path's rename; that of a table is given columns."""
    return name == "rename" and len(node.args) in (1, 2) and not isinstance(node.args[0], ast.Dict | ast.Constant)


def _into_memory(node: ast.Call) -> bool:
    if not node.args and not node.keywords:
        return True
    return bool(node.args) and isinstance(node.args[0], ast.Name) and node.args[0].id in ("buffer", "file")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_else_opens_a_file_for_writing(path: Path) -> None:
    place = path.relative_to(SOURCE).as_posix()
    if place == WRITER:
        return
    found = [f"{place}:{line}: {name}" for line, name in writes(path) if f"{place}: {name}" not in ALLOWED]
    assert not found, f"use heedful.reporting.write, or give a reason in ALLOWED: {found}"


def test_every_exception_is_still_one() -> None:
    known = {
        f"{path.relative_to(SOURCE).as_posix()}: {name}" for path in SOURCE.rglob("*.py") for _, name in writes(path)
    }
    assert not ALLOWED.keys() - known


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')", "open(path, mode='ab')", "path.open('x')", "path.write_text('a')", "os.open(p, os.O_WRONLY)",
        "os.replace(a, b)", "torch.save(a, b)", "frame.write_csv(path)", "shutil.copyfile(a, b)", "a.rename(b)",
        "io.open(p, 'r+')", "os.fdopen(d, 'wb')", "model.save_pretrained(p)", "np.save(p, a)", "p.touch()",
    ],
)  # fmt: skip
def test_the_walk_finds_what_it_should(line: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(f"def f():\n    {line}\n")
    assert list(writes(tmp_path / "planted.py")), line
    (tmp_path / "planted.py").write_text("open(path)\nopen(path, 'rb')\nos.open(p, os.O_RDONLY)\nwrite_atomic(p, d)\n")
    assert not list(writes(tmp_path / "planted.py"))
