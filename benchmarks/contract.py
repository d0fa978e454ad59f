"""`heedful.check` against the plain forward of the same model on the same tokens, in one run.

    python benchmarks/contract.py [--layers 12 --width 576 --length 1024]
    python benchmarks/contract.py --model FOLDER --length 2048

Without a gradient, `capture=True` proves a replacement by one more forward a module: its line would measure that alone.
Times are process CPU seconds; the ratio is what to read. By default: the model that ships with heedful, 128 tokens.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from heedful.contract.check import check
from heedful.loading.loaded_model import load_model

HEAD = 64


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Process CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def made(layers: int, width: int) -> nn.Module:
    """A Llama of random weights, of SmolLM2's shape where width is 576."""
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD,
        num_key_value_heads=width // HEAD // 3 or 1,
        intermediate_size=width * 8 // 3,
        vocab_size=4096,
        max_position_embeddings=8192,
    )
    return transformers.LlamaForCausalLM(config).eval()


def main() -> None:
    """Run each way in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model that load_model reads, such as SmolLM2-135M")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    model = load_model(wanted.model).model if wanted.layers is None else made(wanted.layers, wanted.width)
    ids = torch.randint(4, 2000, (1, wanted.length), generator=torch.Generator().manual_seed(0))

    def forward() -> None:
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)

    forward()
    plain = min(cpu_seconds(forward) for _ in range(3))
    batch = {"input_ids": ids, "use_cache": False}
    works = {
        "kernels alone": lambda: check(model, batch, behaviour=False),
        "kernels and changed tokens": lambda: check(model, batch, gradients=False, capture=False),
        "everything": lambda: check(model, batch),
    }
    if wanted.repeats > 1:
        check(model, batch)
    table = Table(title=f"{type(model).__name__}: 1 sequence of {wanted.length} tokens")
    for column in ("what", "CPU s", "x plain forward"):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row("plain forward", f"{plain:.3f}", "1.0")
    for what, work in works.items():
        seconds = min(cpu_seconds(work) for _ in range(wanted.repeats))
        table.add_row(what, f"{seconds:.3f}", f"{seconds / plain:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
