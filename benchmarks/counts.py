"""Pairs of neighbouring tokens counted four ways over growing corpora: tokens per second and peak memory.

    python benchmarks/counts.py [--tokens 1000000 4000000 16000000] [--n 1] [--suffix-array PYTHON] [--json FILE]

The corpus is made up: documents of a million token ids out of 50,000, the k-th drawn with odds of 1 / k, in a file of
uint32. Each cell is a process of its own with one thread; it ends with every distinct pair of context and next token:

* ``heedful``: ``heedful.ngrams.counting.counting.count``, from the file to checked Parquet on disk, a document a shard;
* ``dataframe``: one polars group-by over all pairs in memory;
* ``dictionary``: the usual loop, a ``Counter`` of tuples;
* ``suffix array``: an index by tokengrams, asked for the count of every observed pair.

Tokengrams is no dependency: name a Python that has it, or its row says that it is absent. Peak memory is what the
process needed beyond what it had when its imports were done; the corpus is part of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY, DOCUMENT = 50_000, 1_000_000
WAYS = ("heedful", "dataframe", "dictionary", "suffix array")
MIB = 1024
LONGEST_LOOP = 4_000_000
"""Tokens beyond which the dictionary and the suffix array are left out: they take minutes and gigabytes."""


class Blocks:
    """The file as a corpus whose pieces are numbers of documents, and the encoder that reads their tokens."""

    documents, notes, name, size, unknown = "auto", (), "made up", VOCABULARY, None

    def __init__(self, path: Path) -> None:
        from heedful.loading.corpus import TextFile
        from heedful.loading.token_encoder import fingerprint

        self.path, size = path, path.stat().st_size
        self.files = [TextFile(path.name, size, "")]
        self.shard_bytes = [4 * min(DOCUMENT, size // 4 - begin) for begin in range(0, size // 4, DOCUMENT)]
        self.fingerprint = fingerprint("{}")

    def pieces(self, shard: int) -> Iterator[Any]:
        """One piece: the number of the shard."""
        from heedful.loading.corpus import Piece

        yield Piece(str(shard), 0, 0)

    def encode(self, pieces: Any, past: int) -> Iterator[Any]:
        """The tokens of that document; none before it, for it begins there."""
        from heedful.loading.corpus import TokenPiece

        for piece in pieces:
            begin = int(piece.text) * DOCUMENT * 4
            yield TokenPiece(np.fromfile(self.path, dtype=np.uint32, count=DOCUMENT, offset=begin))

    def save(self, folder: Path) -> None:
        """An empty tokenizer."""
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def by_heedful(path: Path, n: int) -> int:
    """Distinct pairs, by shards on disk and one grouped sum."""
    from heedful.ngrams.counting.counting import CountSettings, count

    corpus = Blocks(path)
    with tempfile.TemporaryDirectory() as folder:
        found = count(corpus, corpus, Path(folder) / "counts", CountSettings(n=(n,)))
    return found.tables[-1].pairs


def by_dataframe(path: Path, n: int) -> int:
    """Distinct pairs, by one group-by over columns of all positions."""
    import polars

    documents = [polars.DataFrame(_columns(tokens, n)) for tokens in _documents(path)]
    return len(polars.concat(documents).group_by(polars.all()).len())


def by_dictionary(path: Path, n: int) -> int:
    """Distinct pairs, by a loop."""
    found: Counter[tuple[int, ...]] = Counter()
    for tokens in _documents(path):
        words = tokens.tolist()
        for end in range(n, len(words)):
            found[tuple(words[end - n : end + 1])] += 1
    return len(found)


def by_suffix_array(path: Path, n: int) -> int:
    """Distinct pairs, each asked of the index; ids fit into two bytes. An index names no pairs: a sort must."""
    from tokengrams import InMemoryIndex

    found = np.unique(np.concatenate([_windows(tokens, n) for tokens in _documents(path)]), axis=0)
    with tempfile.TemporaryDirectory() as folder:
        narrow = Path(folder) / "tokens.bin"
        np.fromfile(path, dtype=np.uint32).astype(np.uint16).tofile(narrow)
        index = InMemoryIndex.from_token_file(str(narrow), vocab=VOCABULARY)
        return sum(index.count(list(map(int, pair))) > 0 for pair in found)


RUN = dict(zip(WAYS, (by_heedful, by_dataframe, by_dictionary, by_suffix_array), strict=True))


def _documents(path: Path) -> Iterator[np.ndarray]:
    tokens = np.fromfile(path, dtype=np.uint32)
    for begin in range(0, len(tokens), DOCUMENT):
        yield tokens[begin : begin + DOCUMENT]


def _windows(tokens: np.ndarray, n: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(tokens, n + 1)


def _columns(tokens: np.ndarray, n: int) -> dict[str, np.ndarray]:
    return {str(place): tokens[place : len(tokens) - n + place] for place in range(n + 1)}


def make_corpus(path: Path, tokens: int) -> None:
    """Write a corpus, always the same for a size."""
    draw = np.random.default_rng(0)
    share = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    with open(path, "wb") as file:
        for begin in range(0, tokens, DOCUMENT):
            drawn = draw.random(min(DOCUMENT, tokens - begin)) * share[-1]
            file.write(np.searchsorted(share, drawn).astype(np.uint32).tobytes())


def run_cell(way: str, path: Path, n: int) -> dict[str, Any]:
    """One way in this process: CPU and wall seconds, MiB, distinct pairs."""
    if way == "suffix array" and importlib.util.find_spec("tokengrams") is None:
        return {"absent": "tokengrams is not installed in this Python"}
    if way != "suffix array":
        RUN[way](_small(path), n)  # imports and first calls
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, cpu = time.perf_counter(), time.process_time()
    pairs = RUN[way](path, n)
    seconds = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - begin}
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / MIB
    return {**seconds, "peak_mib": peak, "pairs": pairs}


def _small(path: Path) -> Path:
    small = path.with_suffix(".small")
    small.write_bytes(np.fromfile(path, dtype=np.uint32, count=1000).tobytes())
    return small


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000_000, 4_000_000, 16_000_000])
    parser.add_argument("--n", type=int, default=1, help="tokens in a context")
    parser.add_argument("--suffix-array", metavar="PYTHON", default=sys.executable, help="a Python with tokengrams")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_a_fresh_process(python: str, way: str, path: Path, n: int) -> dict[str, Any]:
    """Result of one cell, measured by this file in a process of its own with one thread."""
    command = [python, __file__, "--cell", json.dumps([way, str(path), n])]
    single = {**os.environ, "POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=single).stdout)


def main() -> None:
    """Measure every cell and print a table."""
    wanted = arguments()
    if wanted.cell is not None:
        way, path, n = json.loads(wanted.cell)
        print(json.dumps(run_cell(way, Path(path), n)))
        return
    print(f"contexts of {wanted.n}, {VOCABULARY:,} token ids, one thread")
    print(
        f"{'tokens':>12}  {'way':<12} {'CPU s':>8} {'tokens/CPU s':>14} {'x heedful':>9} {'peak MiB':>9} {'pairs':>12}"
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for tokens in wanted.tokens:
            path = Path(folder) / f"{tokens}.bin"
            make_corpus(path, tokens)
            own = 0.0
            for way in WAYS:
                if way in WAYS[2:] and tokens > LONGEST_LOOP:
                    continue
                python = wanted.suffix_array if way == "suffix array" else sys.executable
                found = in_a_fresh_process(python, way, path, wanted.n)
                rows.append({"tokens": tokens, "way": way, **found})
                if "absent" in found:
                    print(f"{tokens:>12,}  {way:<12} left out: {found['absent']}")
                    continue
                own = own or found["cpu"]
                message = f"{found['cpu']:>8.2f} {tokens / found['cpu']:>14,.0f} {found['cpu'] / own:>9.1f}"
                print(
                    f"{tokens:>12,}  {way:<12} {message} {found['peak_mib']:>9,.0f} {found['pairs']:>12,}", flush=True
                )
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"n": wanted.n, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
