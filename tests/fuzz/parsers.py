"""The parsers of files from outside, each with seeds that it accepts, and what a broken file must come to.

A file comes to a value or to a refusal of one line with exit code 2, 3, 4 or 5; nothing else is raised, nothing is
written beside it, and no call takes longer than a minute.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from safetensors.torch import save
from tests.evaluation.page.factory import realistic, small
from tests.fuzz.tokenizers import hostile, plain, use
from tests.loading.test_gguf import ARCHITECTURE, BLOCK, BLOCKS, NUMBERS, TENSOR, WORDS, gguf
from tests.ngrams.counting import material as counted
from tests.places import ROOT

from heedful.errors import HeedfulError
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.loading.config_file import read_config
from heedful.loading.gguf import read_gguf_header
from heedful.loading.run_files import verify_checkpoint
from heedful.loading.torch_archive import read_torch_archive
from heedful.loading.weights import read_weights
from heedful.monitoring.tracker.table import read_table, table_bytes, table_frame
from heedful.ngrams.counting.counting import count
from heedful.ngrams.counting.manifest import SEAL, seal_of
from heedful.ngrams.counting.reading import read_counts
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.recipe import read_measured

SECONDS = 60
CODES = (2, 3, 4, 5)
NUMBERS_TRIED = (0, -1, 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64, 10**30, 1e308, -0.0, True, None)
VALUES_TRIED = (*NUMBERS_TRIED, "", "\x1b[2J", "../../x", "a" * 5000, [], {}, [[]] * 50, {"": {}}, "NaN")


@dataclass(frozen=True)
class Parser:
    """A reader of files.

    Attributes:
        file: Name of the file that is broken.
        seeds: Contents that it accepts.
        read: Reads the folder in which the file lies.
        lay: Lays what else the folder holds.
    """

    file: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    lay: Callable[[Path], None] = lambda _folder: None


def broken(content: bytes, draw: random.Random) -> bytes:
    """The content with a few changes: of bytes, of its length, or of a value where it is JSON."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        content = _values(content, draw) if content[:1] in b"{[" and draw.random() < 0.7 else _bytes(content, draw)
    return content


def _bytes(content: bytes, draw: random.Random) -> bytes:
    whole, place = bytearray(content), draw.randrange(len(content) + 1)
    way = draw.randrange(6)
    if way == 0 and place < len(whole):
        whole[place] ^= 1 << draw.randrange(8)
    elif way == 1:
        del whole[place:]
    elif way == 2:
        whole[place:place] = draw.randbytes(draw.randrange(1, 40))
    elif way == 3:
        del whole[place : place + draw.randrange(1, 40)]
    elif way == 4:
        number = draw.choice((0, 1, 255, 2**16, 2**31, 2**32 - 1, 2**60, 2**64 - 1))
        whole[place : place + 8] = number.to_bytes(8, "little")
    else:
        piece = whole[place : place + draw.randrange(1, 200)]
        whole[place:place] = piece * draw.randrange(1, 20)
    return bytes(whole)


def _values(content: bytes, draw: random.Random) -> bytes:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return _bytes(content, draw)
    nodes = [tree]
    for node in nodes:
        nodes += [one for one in (node.values() if isinstance(node, dict) else node) if isinstance(one, dict | list)]
    node = draw.choice([one for one in nodes if one] or [tree])
    if isinstance(node, dict) and node:
        key = draw.choice(list(node))
        if draw.random() < 0.2:
            del node[key]
        else:
            node[draw.choice((key, key, key, "extra"))] = draw.choice(VALUES_TRIED)
    elif isinstance(node, list) and node:
        node[draw.randrange(len(node))] = draw.choice(VALUES_TRIED)
    return json.dumps(tree).encode("utf-8", "backslashreplace")


def check(parser: Parser, content: bytes) -> int:
    """The exit code that a content comes to; an AssertionError where it comes to anything else."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "input"
        folder.mkdir()
        parser.lay(folder)
        (folder / parser.file).write_bytes(content)
        before = sorted(Path(place).rglob("*"))
        code = 0
        try:
            with _alarmed():
                parser.read(folder)
        except HeedfulError as error:
            code, message = error.exit_code, str(error)
            assert code in CODES and message.isprintable() and "weights_only" not in message and len(message) < 4000, (
                message
            )
        assert sorted(Path(place).rglob("*")) == before, "a file was written"
    return code


@contextmanager
def _alarmed() -> Iterator[None]:
    def late(_number: int, _frame: Any) -> None:
        raise AssertionError(f"longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _tables() -> list[bytes]:
    rows = [
        {"layer": layer, "head": head, "part": "query", "norm": 0.5 * head} for layer in range(2) for head in range(3)
    ]
    return [table_bytes(table_frame(10, rows)), table_bytes(table_frame(0, []))]


def _counts(folder: Path) -> None:
    count(counted.Numbers([[1, 2, 3, 1, 2], [3, 3, 1]]), counted.Codes(5), folder)


def _counts_file(name: str) -> list[bytes]:
    with TemporaryDirectory() as place:
        _counts(Path(place))
        return [(Path(place) / name).read_bytes()]


def _signed_counts(folder: Path) -> None:
    """Read counts as they are, and as a forger who knows the seal would have them."""
    try:
        tree = json.loads((folder / "counts.json").read_bytes())
        tree.pop(SEAL, None)
        (folder / "counts.json").write_text(json.dumps({**tree, SEAL: seal_of(tree)}))
    except (ValueError, RecursionError, AttributeError, TypeError):
        pass
    read_counts(folder).verify()


def _archive() -> list[bytes]:
    file = io.BytesIO()
    torch.save({"a": torch.ones(2, 3), "step": 7}, file)
    return [file.getvalue()]


def _mark(folder: Path) -> None:
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(b"x")
    (folder / "trainer_state.json").write_text('{"global_step": 4}')


def _marks() -> list[bytes]:
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    parts = {name: {"bytes": 1, "sha256": digest} for name in ("model.safetensors", "optimizer.pt", "scheduler.pt")}
    return [json.dumps({"step": 4, "parts": parts}).encode(), b'{"step": 4}']


PLAN = b"recipe: decoder\naxes:\n  attention: [softmax]\nfixed: {preset: tiny, steps: 4}\nseeds: [0, 1]\n"


def _plans() -> list[bytes]:
    """Plans of the docs too, as JSON, which YAML holds and whose values are changed one by one."""
    trees = [
        yaml.safe_load((ROOT / "docs" / "sweeps" / name).read_bytes()) for name in ("qk_norm.yaml", "derived.yaml")
    ]
    drawn = {"recipe": "random_attention", "fixed": {"keys": 8}, "axes": {"dim": [2, 4]}, "seeds": [3, 5]}
    return [PLAN, *(json.dumps(tree).encode() for tree in (*trees, drawn))]


MEASURES = json.dumps(
    {"schema": "heedful.measures/1", "run": "a", "measures": [{"measure": "loss", "value": 1.5, "layer": 0, "n": 3}]}
).encode()

PARSERS: dict[str, Parser] = {
    "safetensors": Parser(
        "a.safetensors",
        lambda: [save({"a": torch.ones(2, 3), "b.c": torch.zeros(4)})],
        lambda f: read_weights(f / "a.safetensors"),
    ),
    "torch archive": Parser("a.pt", _archive, lambda f: read_torch_archive(f / "a.pt")),
    "gguf": Parser(
        "a.gguf",
        lambda: [gguf([WORDS, ARCHITECTURE, NUMBERS], [TENSOR, TENSOR]), gguf([BLOCKS], [BLOCK, TENSOR])],
        lambda f: read_gguf_header(f / "a.gguf"),
    ),
    "config": Parser(
        "config.json", lambda: [b'{"model_type": "gpt2", "n_layer": 2}'], lambda f: read_config(f / "config.json")
    ),
    "tokenizer": Parser(
        "tokenizer.json",
        lambda: [json.dumps(plain()).encode(), *(content for _, content in hostile() if len(content) < 20_000)],
        use,
    ),
    "count manifest": Parser("counts.json", lambda: _counts_file("counts.json"), _signed_counts, _counts),
    "count table": Parser(
        "n1.s0.0000.parquet", lambda: _counts_file("n1.s0.0000.parquet"), lambda f: read_counts(f).verify(), _counts
    ),
    "report": Parser(
        "report.json",
        lambda: [to_json(small()).encode(), to_json(realistic()).encode()],
        lambda f: from_json((f / "report.json").read_bytes()),
    ),
    "sweep plan": Parser("plan.yaml", _plans, lambda f: read_plan(f / "plan.yaml")),
    "measures": Parser("measures.json", lambda: [MEASURES], lambda f: read_measured(f / "measures.json")),
    "key table": Parser("attention.parquet", _tables, read_table),
    "mark": Parser("whole.json", _marks, verify_checkpoint, _mark),
}  # fmt: skip


def run(name: str, draw: random.Random) -> int:
    """One broken file of a parser, drawn."""
    parser = PARSERS[name]
    if name not in _seeds:
        _seeds[name] = parser.seeds()
        _warm(parser, _seeds[name][0])
    return check(parser, broken(draw.choice(_seeds[name]), draw))


def _warm(parser: Parser, content: bytes) -> None:
    """Read a seed without a clock: what it imports is no part of the time of a file."""
    with TemporaryDirectory() as place, contextlib.suppress(HeedfulError):
        parser.lay(Path(place))
        (Path(place) / parser.file).write_bytes(content)
        parser.read(Path(place))


_seeds: dict[str, list[bytes]] = {}
