"""The tiled engine with every standing moment against attention alone and against the usual way, in one run.

    python benchmarks/engine.py [--lengths 512 2048 8192] [--threads 1] [--repeat 5] [--json FILE]

Four ways, on the same causal call of 8 heads of 64 dimensions:

* ``attention alone``: scaled_dot_product_attention, which gives the output and nothing else;
* ``tiled``: ``heedful.attention.engines.tiled``, which gives the output and every standing moment;
* ``tiled, groups``: the same with the masses of special tokens, segments, same and induction tokens beside them; token
  ids follow Zipf's law;
* ``usual way``: eager weights materialised, then the same moments by their textbook lines.

Times are medians of process CPU seconds, the ways in turn within one process, so that the ratio holds on a busy
machine. Peak memory is what a process of its own needs beyond its inputs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADS, DIM = 8, 64
WAYS = ("attention alone", "tiled", "tiled, groups", "usual way")
VOCABULARY = 50_000
LEAST_REPEATS = 3
MIB = 1024


def attention_alone(call: Any) -> Any:
    """The output, by the stock kernel."""
    import torch

    with torch.no_grad():
        return torch.nn.functional.scaled_dot_product_attention(call.query, call.key, call.value, is_causal=True)


def tiled_moments(call: Any) -> Any:
    """The output and every standing moment, by query blocks."""
    from heedful.attention.engines.tiled import tiled

    return tiled(call)


def tiled_with_groups(call: Any) -> Any:
    """The same and every mass of groups."""
    from heedful.attention.engines.moments import Extras
    from heedful.attention.engines.tiled import tiled

    return tiled(call, Extras(groups=groups_of(call.n_keys)))


def groups_of(length: int) -> Any:
    """Two groups of keys, four segments, and token ids of which the k-th is drawn with odds of 1 / k."""
    import torch

    from heedful.attention.engines.groups import Groups

    generator = torch.Generator().manual_seed(0)
    odds = 1 / torch.arange(1, VOCABULARY + 1)
    tokens = torch.multinomial(odds, length, replacement=True, generator=generator)[None]
    marks = torch.rand(1, length, 2, generator=generator) < 0.1
    return Groups(keys=marks, segments=(torch.arange(length) * 4 // length)[None], tokens=tokens)


def usual_way(call: Any) -> Any:
    """The output and the same moments from materialised weights, head by head where a further array is made."""
    import torch

    with torch.no_grad():
        length = call.n_queries
        logits = call.scale * (call.query @ call.key.transpose(-1, -2))
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        logits.masked_fill_(future, -torch.inf)
        normaliser = torch.logsumexp(logits, dim=-1)
        weights = torch.softmax(logits, dim=-1)
        del logits
        output, received = weights @ call.value, weights.sum(-2)
        position = torch.arange(length)
        near = (position[:, None] - position).abs() <= 5
        by_head = [_moments_of_head(head, position, near) for head in weights.flatten(0, 1)]
    return output, received, normaliser, [torch.stack(moment) for moment in zip(*by_head, strict=True)]


def _moments_of_head(weights: Any, position: Any, near: Any) -> tuple[Any, ...]:
    import torch

    return (
        weights.sum(-1),
        -torch.special.xlogy(weights, weights).sum(-1),
        weights.amax(-1),
        weights.square().sum(-1),
        (weights * position).sum(-1),
        weights.diagonal(),
        weights.diagonal(-1),
        weights[:, 0],
        (weights * near).sum(-1),
        (weights[:-1] * weights[1:]).sum(-1),
        (weights[:-10] * weights[10:]).sum(-1),
    )


RUN: dict[str, Callable[[Any], Any]] = dict(
    zip(WAYS, (attention_alone, tiled_moments, tiled_with_groups, usual_way), strict=True)
)


def call_of(length: int) -> Any:
    """A causal call of random inputs."""
    import torch

    from heedful.attention.call import AttentionCall

    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, HEADS, length, DIM, generator=generator) for _ in range(3))
    return AttentionCall(query=query, key=key, value=value)


def time_cell(length: int, repeat: int) -> dict[str, float]:
    """Median CPU seconds of each way at one length; the slow way is repeated less at the greatest lengths."""
    call = call_of(length)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(repeat + 1):
        for way, run in RUN.items():
            if way == "usual way" and length > 4096 and turn > 1:
                continue
            start = time.process_time()
            run(call)
            seconds[way].append(time.process_time() - start)
    return {way: statistics.median(taken[1:]) for way, taken in seconds.items()}


def memory_cell(way: str, length: int) -> float:
    """MiB by which the largest resident memory of this process grows while one way runs."""
    RUN[way](call_of(64))
    call = call_of(length)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = RUN[way](call)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del kept
    return (after - before) / MIB


def in_a_fresh_process(threads: int, *cell: Any) -> Any:
    """Result of one cell, measured by this file in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--cell", json.dumps(cell)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of each way, after one that is not counted")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_cell(cell: list[Any], threads: int) -> None:
    """Measure one cell in this process and print it as JSON."""
    import torch

    torch.set_num_threads(threads)
    what, *rest = cell
    print(json.dumps(time_cell(*rest) if what == "time" else memory_cell(*rest)))


def main() -> None:
    """Measure every cell and print a table a length."""
    wanted = arguments()
    if wanted.cell is not None:
        run_cell(json.loads(wanted.cell), wanted.threads)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{HEADS} heads, {DIM} dimensions, causal, float32, {wanted.threads} thread(s)")
    for column in ("N", "way", "CPU ms", "x attention", "peak MiB"):
        table.add_column(column, justify="left" if column == "way" else "right")
    rows: list[dict[str, Any]] = []
    for length in wanted.lengths:
        seconds = in_a_fresh_process(wanted.threads, "time", length, max(LEAST_REPEATS, wanted.repeat))
        for way in WAYS:
            memory = in_a_fresh_process(wanted.threads, "memory", way, length)
            ratio = seconds[way] / seconds[WAYS[0]]
            rows.append({"length": length, "way": way, "seconds": seconds[way], "ratio": ratio, "peak_mib": memory})
            table.add_row(str(length), way, f"{1e3 * seconds[way]:.1f}", f"{ratio:.2f}", f"{memory:.0f}")
        table.add_section()
    Console().print(table)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"threads": wanted.threads, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
