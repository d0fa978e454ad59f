"""What the tracker costs: training steps with it and without, in turn, of one model in one run.

    python benchmarks/tracker.py [--every 10 50] [--rounds 20] [--threads 1] [--compiled]

Of three steps one is made with the whole record, one with a brief record (largest logits, entropies, sinks) and one
without: process CPU seconds of the same batch, in alternating order. A recorded forward runs in eager form, so with
--compiled the three are compared with a compiled step as well. Between records the tracker runs two functions and hooks
nothing else, so these are timed by themselves: the difference of two whole steps would be noise. The share at every
k-th step is (recorded + (k - 1) * between) / k.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from heedful.monitoring.tracker.attention_tracker import AttentionTracker


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, nargs="*", default=[10, 50])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--compiled", action="store_true")
    return parser.parse_args()


EVERY = 1000
"""Steps between two records of the timed trackers: only the pair that is timed falls on one."""


class Loop:
    """A model, its optimizer, and one training step of a drawn batch."""

    def __init__(self, batch: int, length: int) -> None:
        torch.manual_seed(0)
        config = Qwen3Config(
            vocab_size=2048,
            hidden_size=256,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            intermediate_size=768,
            max_position_embeddings=length,
        )
        self.model = Qwen3ForCausalLM(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.ids = torch.randint(0, 2048, (batch, length))
        self.called: Any = self.model

    def compiled(self) -> float:
        """CPU seconds of a compiled step, after three to warm up."""
        self.called = torch.compile(self.model)
        for _ in range(3):
            self._step()
        found = [self.plain() for _ in range(5)]
        self.called = self.model
        return statistics.median(found)

    def plain(self) -> float:
        """CPU seconds of a step."""
        begin = time.process_time()
        self._step()
        return time.process_time() - begin

    def tracked(self, out: Path) -> float:
        """CPU seconds of a recorded step, its part of the table included."""
        with self._tracker(out, EVERY - 1) as tracker:
            begin = time.process_time()
            tracker.step(self._step())
            return time.process_time() - begin

    def briefly(self, out: Path) -> float:
        """CPU seconds of a step with a brief record; of these, 50 are written together."""
        with self._tracker(out, 1, brief_every=1) as tracker:
            begin = time.process_time()
            tracker.step(self._step())
            return time.process_time() - begin

    def between(self, out: Path, repeated: int = 1000) -> float:
        """CPU seconds of what the tracker runs in a step that is not recorded."""
        with self._tracker(out, 1) as tracker:
            tracker.every = 10 * repeated
            begin = time.process_time()
            for _ in range(repeated):
                tracker._before_optimizer(self.optimizer, (), {})
                tracker.step(1.0)
            return (time.process_time() - begin) / repeated

    def _tracker(self, out: Path, first: int, brief_every: int | None = None) -> AttentionTracker:
        return AttentionTracker(
            self.model,
            out=out,
            every=EVERY,
            brief_every=brief_every,
            optimizer=self.optimizer,
            first_step=first,
            write=lambda line: None,
        )

    def _step(self) -> float:
        loss = self.called(input_ids=self.ids, labels=self.ids).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def main() -> None:
    """Time pairs of steps and print the shares."""
    wanted = arguments()
    torch.set_num_threads(wanted.threads)
    loop = Loop(wanted.batch, wanted.length)
    for _ in range(3):
        loop.plain()
    shares: list[float] = []
    brief: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(wanted.rounds):
            out = Path(folder) / str(number)
            ways = [loop.plain, lambda out=out: loop.tracked(out), lambda out=out: loop.briefly(out / "brief")]
            order = [(number + one) % 3 for one in range(3)]
            took = {place: ways[place]() for place in order}
            plain.append(took[0])
            shares.append(took[1] / took[0] - 1)
            brief.append(took[2] / took[0] - 1)
        step, record = statistics.median(plain), statistics.median(shares)
        between = loop.between(Path(folder) / "between") / step
    print(f"plain step {1000 * step:.0f} ms; recorded step +{100 * record:.1f} %; step between +{100 * between:.4f} %")
    print(f"brief record +{100 * statistics.median(brief):.1f} % of step time at every step")
    for every in wanted.every:
        print(f"every {every:3d}: {100 * (record + (every - 1) * between) / every:.2f} % of step time")
    if wanted.compiled:
        fast = loop.compiled()
        print(f"compiled step {1000 * fast:.0f} ms; what a record costs beyond it, the eager form included:")
        for every in wanted.every:
            share = (step * (1 + record) / fast - 1 + (every - 1) * between * step / fast) / every
            print(f"every {every:3d}: {100 * share:.2f} % of a compiled step's time")


if __name__ == "__main__":
    main()
