"""One layer-sized call at growing length: time and peak memory of the engines against attention alone.

    python benchmarks/length.py [--lengths 2048 4096 ...] [--heads 8] [--threads 1] [--repeat 1] [--json FILE]

The call is causal, float32, of 64 dimensions. Each cell is a process of its own: process CPU seconds (the median of the
repeats, after one short call that is not counted), and by how many MiB the largest resident memory grows beyond inputs.
``MiB / 1k`` is that growth for every thousand positions: level where memory is linear in length. The last lines give
the exponent of each way's memory: the slope of log memory over log length, by least squares over all lengths.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DIM = 64
WAYS = ("attention alone", "tiled", "fused", "binned map")
WARM_LENGTH = 64
MIB = 1024


def run_way(way: str, call: Any) -> Any:
    """What one way returns for a call."""
    import torch

    from heedful.attention.engines.binned import binned_map
    from heedful.attention.engines.measure import ENGINES

    if way == "attention alone":
        with torch.no_grad():
            return torch.nn.functional.scaled_dot_product_attention(call.query, call.key, call.value, is_causal=True)
    return binned_map(call) if way == "binned map" else ENGINES[way](call, None)


def call_of(heads: int, length: int) -> Any:
    """A causal call of random inputs."""
    import torch

    from heedful.attention.call import AttentionCall

    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, DIM, generator=generator) for _ in range(3))
    return AttentionCall(query=query, key=key, value=value)


def cell(way: str, heads: int, length: int, repeat: int) -> dict[str, float]:
    """CPU seconds and growth of the largest resident memory of this process."""
    run_way(way, call_of(heads, WARM_LENGTH))
    call = call_of(heads, length)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        kept = run_way(way, call)
        seconds.append(time.process_time() - start)
        del kept
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": statistics.median(seconds), "peak_mib": (after - before) / MIB}


def exponent(rows: list[dict[str, Any]], way: str) -> float:
    """Slope of log memory over log length; NaN for fewer than two lengths with growth."""
    found = [
        (math.log(row["length"]), math.log(row["peak_mib"]))
        for row in rows
        if row["way"] == way and row["peak_mib"] > 0
    ]
    return statistics.linear_regression(*zip(*found, strict=True)).slope if len(found) > 1 else math.nan


def in_a_fresh_process(threads: int, *asked: Any) -> dict[str, float]:
    """One cell, measured by this file in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--cell", json.dumps(asked)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096, 8192, 16384, 32768])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS[:3]))
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--repeat", type=int, default=1, help="timed runs of each cell")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure every cell and print a line as soon as it is known."""
    wanted = arguments()
    if wanted.cell is not None:
        import torch

        torch.set_num_threads(wanted.threads)
        print(json.dumps(cell(*json.loads(wanted.cell))))
        return
    print(f"{wanted.heads} heads, {DIM} dimensions, causal, float32, {wanted.threads} thread(s)")
    print(f"{'N':>7}  {'way':<16}{'CPU s':>9}{'x attention':>13}{'peak MiB':>10}{'MiB / 1k':>10}", flush=True)
    rows: list[dict[str, Any]] = []
    for length in wanted.lengths:
        alone = None
        for way in wanted.ways:
            found = in_a_fresh_process(wanted.threads, way, wanted.heads, length, wanted.repeat)
            alone = found["seconds"] if way == WAYS[0] else alone
            ratio = f"{found['seconds'] / alone:.2f}" if alone else "-"
            times, grown = f"{found['seconds']:>9.2f}{ratio:>13}", found["peak_mib"]
            print(f"{length:>7}  {way:<16}{times}{grown:>10.0f}{grown / length * 1000:>10.1f}", flush=True)
            rows.append({"length": length, "way": way, **found})
    for way in wanted.ways:
        print(f"{way}: memory grows with length to the power of {exponent(rows, way):.2f}")
    if wanted.json is not None:
        written = {"heads": wanted.heads, "threads": wanted.threads, "rows": rows}
        wanted.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
