"""S01, S09, S13, S14 as rules over the source: what must never be written anywhere in heedful."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import heedful

pytestmark = pytest.mark.fault
SOURCES = sorted(Path(heedful.__file__).parent.rglob("*.py"))
FORBIDDEN_WORDS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {"extractall", "unpack_archive", "add_safe_globals"}
FORBIDDEN_PICKLE = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "joblib.load",
    "dill.load",
    "torch.jit.load",
    "torch.hub.load",
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_every_torch_load_says_weights_only() -> None:
    loads = [(path, call) for path in SOURCES for name, call in calls(path) if name.endswith("torch.load")]
    assert loads
    for path, call in loads:
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert said.get("weights_only") == "True", f"{path.name}, line {call.lineno}"


OWN_PIPES = "heedful/ngrams/counting/workers.py"
"""What it unpickles comes through a pipe from the process that started it, or that it started; never from a file."""


def test_nothing_untrusted_is_run_or_unpacked() -> None:
    for path, (name, call) in ((source, found) for source in SOURCES for found in calls(source)):
        where = f"{path.name}, line {call.lineno}: {name}"
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        own = path.as_posix().endswith(OWN_PIPES) and name in ("pickle.load", "pickle.loads")
        assert own or name not in FORBIDDEN_PICKLE | FORBIDDEN_WORDS, where
        assert name.rpartition(".")[2] not in FORBIDDEN_METHODS, where
        assert said.get("trust_remote_code") in (None, "False"), where
        assert name != "yaml.load" or said.get("Loader") in ("_PlainYaml", "yaml.SafeLoader"), where
        assert not name.endswith("np.load") or said.get("allow_pickle") in (None, "False"), where


def test_importing_the_room_is_light() -> None:
    script = (
        "import sys, heedful.loading; print([m for m in ('transformers', 'tokenizers', 'gguf') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
