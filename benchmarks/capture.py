"""What capture costs where sequences are short: forwards inside ``heedful.capture(model)`` beside plain ones, in turn.

    python benchmarks/capture.py [--widths 256 768] [--length 128] [--layers 12] [--rounds 15] [--json FILE]

Two decoders of heads of 64 dimensions: GPT-2 of transformers, made from a config, met at the attention table; and a
plain torch module, met at ``scaled_dot_product_attention``. One sequence, no gradient, float32.

``x plain`` is a forward inside a capture that was entered before the clock started, ``entering`` one that enters it
each time, both over a plain forward. Every figure is the least of process CPU seconds over the rounds, all ways in turn
within one process. The parts are shares of the plain forward:

* ``hooks``: the hooks on every module, nothing else watching;
* ``functions``: what more every torch function costs that passes the function mode, table entries included;
* ``describing``, ``engine``, ``statistics``, ``comparison``, ``keeping``: clocks around what makes a call's
  description, its moments, the means of its statistics, the comparison with the model's own output, and the copy to
  draw from (of the first forward, so of ``entering`` alone);
* ``other``: the rest.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import heedful
from heedful.attention.engines.measure import ENGINES
from heedful.interception import call_record, kept_calls, session
from heedful.interception.intercept import intercept
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.stack import ModuleStack

DIM = 64
VOCABULARY = 512
PARTS = ("hooks", "functions", "describing", "engine", "statistics", "comparison", "keeping", "other")


class Block(nn.Module):
    """Attention by ``scaled_dot_product_attention``, then two linear maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, position, width)`` in and out."""
        batch, length, width = x.shape
        joint = self.joint(self.first_norm(x)).view(batch, length, 3, width // DIM, DIM).transpose(1, 3)
        attended = F.scaled_dot_product_attention(joint[:, :, 0], joint[:, :, 1], joint[:, :, 2], is_causal=True)
        x = x + self.output(attended.transpose(1, 2).reshape(batch, length, width))
        y: Tensor = x + self.down(F.gelu(self.up(self.second_norm(x))))
        return y


class PlainDecoder(nn.Module):
    """Embeddings, blocks and a head."""

    def __init__(self, width: int, layers: int, length: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits, ``(batch, position, token)``."""
        x = self.tokens(input_ids) + self.positions.weight[: input_ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(self.norm(x))
        return y


def gpt2(width: int, layers: int, length: int) -> nn.Module:
    """GPT-2 of transformers with attention by its table."""
    import transformers

    sizes = {"n_embd": width, "n_layer": layers, "n_head": width // DIM, "n_positions": length}
    config = transformers.GPT2Config(**sizes, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=None)
    return transformers.GPT2LMHeadModel(config)


MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {"GPT-2": gpt2, "plain module": PlainDecoder}


class Clock:
    """Process CPU seconds inside functions, by part; what one part calls of another counts for that other alone."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function under the clock."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.process_time() - begin
                self.seconds[part] += taken - self._inner.pop()
                self._inner[-1] += taken

        return timed

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Clocks around the parts of a capture."""
        meet = Interceptor.meet

        def met(way: Interceptor, module: Any, name: str, describe: Any, *rest: Any, **more: Any) -> Any:
            return meet(way, module, name, self.around("describing", describe), *rest, **more)

        with ExitStack() as patches:
            patches.enter_context(patch.object(Interceptor, "meet", met))
            patches.enter_context(patch.dict(ENGINES, {"tiled": self.around("engine", ENGINES["tiled"])}))
            for place, name, part in (
                (session.Session, "_add", "statistics"),
                (call_record.WaitingRows, "settle", "statistics"),
                (session, "output_error", "comparison"),
                (session, "limit_of", "comparison"),
                (kept_calls.KeptCalls, "offer", "keeping"),
            ):
                patches.enter_context(patch.object(place, name, self.around(part, getattr(place, name))))
            yield


class Cell:
    """One model, and its forwards in every way."""

    def __init__(self, model: nn.Module, ids: Tensor) -> None:
        self.model, self.ids = model.eval(), ids
        self.clock = Clock()
        self.ways: dict[str, Callable[[], float]] = {
            "plain": self.forward,
            "captured": lambda: self.inside(heedful.capture(self.model)),
            "entering": lambda: self.entering(),
            "hooks": lambda: self.inside(ModuleStack(self.model)),
            "met": lambda: self.inside(intercept(self.model, lambda event: None)),
        }

    def forward(self) -> float:
        """CPU seconds of a forward as things stand."""
        begin = time.process_time()
        self.model(input_ids=self.ids)
        return time.process_time() - begin

    def inside(self, context: Any) -> float:
        """The same inside a context, whose first forward is not counted: modules are met there, and calls kept."""
        with context:
            self.forward()
            return min(self.forward() for _ in range(2))

    def entering(self) -> float:
        """CPU seconds of entering a capture, one forward and leaving."""
        begin = time.process_time()
        with heedful.capture(self.model):
            self.model(input_ids=self.ids)
        return time.process_time() - begin

    def timed_parts(self) -> dict[str, float]:
        """CPU seconds of the parts that have clocks, one forward; keeping is of the first."""
        with self.clock.watching(), heedful.capture(self.model):
            self.clock.seconds.clear()
            self.forward()
            keeping = self.clock.seconds["keeping"]
            self.clock.seconds.clear()
            self.forward()
            return {**self.clock.seconds, "keeping": keeping}

    def run(self, rounds: int) -> dict[str, Any]:
        """Ratios and shares of the plain forward."""
        least: dict[str, float] = {}
        with torch.no_grad():
            for turn in range(rounds + 1):
                found = {way: clock() for way, clock in self.ways.items()}
                for name, taken in (found | {f"part {k}": v for k, v in self.timed_parts().items()}).items():
                    if turn:  # the first is not counted
                        least[name] = min(least.get(name, taken), taken)
        plain = least["plain"]
        parts = {name: least.get(f"part {name}", 0.0) / plain for name in PARTS}
        parts["hooks"] = least["hooks"] / plain - 1
        parts["functions"] = least["met"] / plain - 1 - parts["hooks"] - parts["describing"]
        ratio = least["captured"] / plain
        parts["other"] = ratio - 1 - sum(share for name, share in parts.items() if name not in ("keeping", "other"))
        return {"plain_ms": 1e3 * plain, "ratio": ratio, "entering": least["entering"] / plain, "parts": parts}


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 768])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    return parser.parse_args()


def main() -> None:
    """Time every model at every width and print a table."""
    from rich.console import Console
    from rich.table import Table

    wanted = arguments()
    torch.set_num_threads(wanted.threads)
    torch.manual_seed(0)
    ids = torch.randint(0, VOCABULARY, (1, wanted.length))
    title = f"N = {wanted.length}, {wanted.layers} layers, one sequence, {wanted.threads} thread(s); parts: % of plain"
    table = Table(title=title)
    for column in ("width", "model", "plain ms", "x plain", "entering", *PARTS):
        table.add_column(column, justify="left" if column == "model" else "right")
    rows: list[dict[str, Any]] = []
    for width in wanted.widths:
        for name in wanted.models:
            cell = Cell(MODELS[name](width, wanted.layers, wanted.length), ids).run(wanted.rounds)
            rows.append({"width": width, "model": name, **cell})
            figures = (f"{cell['plain_ms']:.1f}", f"{cell['ratio']:.2f}", f"{cell['entering']:.2f}")
            table.add_row(str(width), name, *figures, *(f"{100 * cell['parts'][part]:.1f}" for part in PARTS))
    Console(width=150).print(table)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"threads": wanted.threads, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
