"""What divergence attention costs: against the pairwise transported form, and a training step against softmax.

    python benchmarks/gauge.py [--lengths 64 128 256 512] [--repeat 5] [--threads 1]

The pairwise form is the definition: every key carried into every query's frame, (query, key, dim, dim), a
Cholesky factor of each covariance, then KL, softmax and messages. The other: the same by features and one
scaled_dot_product_attention; both begin at means, covariances and angles in the tokens' own frames. CPU seconds,
forward alone, medians of runs in turn; peak memory in processes of their own, beyond what the inputs needed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from heedful.gauge.beliefs import Full
from heedful.gauge.frames import frames
from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.model.decoder_config import HeedfulDecoderConfig

BATCH, ORDER, KAPPA = 4, 2, 5.0
DIM = 2 * ORDER + 1


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="*", default=[64, 128, 256, 512])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "N"), help=argparse.SUPPRESS)
    return parser.parse_args()


def beliefs(length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means, covariances and angles, each in its token's own frame."""
    torch.manual_seed(0)
    root = torch.eye(DIM) + 0.3 * torch.randn(BATCH, length, DIM, DIM)
    return torch.randn(BATCH, length, DIM), root @ root.mT + 0.2 * torch.eye(DIM), torch.randn(BATCH, length, 3) * 0.5


def pairwise(mean: Tensor, covariance: Tensor, phi: Tensor) -> Tensor:
    """Messages by the definition, ``(batch, query, dim)``."""
    frame = frames(phi, ORDER)
    omega = frame[:, :, None] @ frame.mT[:, None]
    carried = (omega @ mean[:, None, :, :, None])[..., 0]
    spread = omega @ covariance[:, None] @ omega.mT
    root = torch.linalg.cholesky((spread + spread.mT) / 2)
    own = torch.linalg.cholesky(covariance)
    ratio = torch.linalg.solve_triangular(root, own[:, :, None].expand_as(root), upper=False)
    apart = torch.linalg.solve_triangular(root, (carried - mean[:, :, None])[..., None], upper=False)
    logs = root.diagonal(dim1=-2, dim2=-1).log().sum(-1) - own.diagonal(dim1=-2, dim2=-1).log().sum(-1)[:, :, None]
    divergence = (ratio.square().sum((-1, -2)) + apart.square().sum((-1, -2)) - DIM) / 2 + logs
    future = torch.ones(divergence.shape[1:], dtype=torch.bool).triu(1)
    weights = torch.softmax((-divergence / KAPPA).masked_fill(future, -torch.inf), dim=-1)
    return (weights[..., None] * carried).sum(2)


def features(mean: Tensor, covariance: Tensor, phi: Tensor) -> Tensor:
    """The same by one product."""
    frame = frames(phi, ORDER)
    common = (frame.mT @ mean[..., None])[..., 0]
    belief = Full.of(common - common[:, :1], frame.mT @ covariance @ frame)
    query, key = belief.queries() / KAPPA, belief.keys()
    value = torch.nn.functional.pad(common, (0, key.shape[-1] - DIM))
    parts = (part[:, None] for part in (query, key, value))
    taken = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True, scale=1.0)[:, 0, :, :DIM]
    return (frame @ taken[..., None])[..., 0]


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"pairwise": pairwise, "features": features}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def peak(way: str, length: int) -> float:
    """MiB that a way needs beyond its inputs, in a process of its own."""
    command = [sys.executable, __file__, "--threads", "1", "--peak", way, str(length)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(way: str, length: int) -> None:
    """Run one way once, small first: what the first call alone loads is no part of it."""
    WAYS[way](*beliefs(16))
    inputs = beliefs(length)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, that of importing e3nn, is forgotten (Linux)
    before = _resident("VmHWM")
    WAYS[way](*inputs)
    print(_resident("VmHWM") - before)


def _resident(field: str) -> float:
    """A memory figure of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def step_ratio(repeat: int) -> list[tuple[str, float]]:
    """CPU time of a training step of each gauge model over that of the softmax decoder of equal width and heads."""
    shared = {"vocab_size": 2048, "num_hidden_layers": 2, "max_position_embeddings": 256}
    wide = {"hidden_size": 72, "num_attention_heads": 6, "head_dim": 12, "intermediate_size": 192}
    made = {"softmax decoder": HeedfulDecoderForCausalLM(HeedfulDecoderConfig(**shared, **wide))}
    for covariance in ("isotropic", "diagonal", "full"):
        config = GaugeConfig(**shared, irreps="10x0e + 9x1e + 7x2e", covariance=covariance, mask_self=False)
        made[f"gauge, {covariance}, 26 heads"] = GaugeForCausalLM(config)
    framed = GaugeConfig(**shared, irreps="10x0e + 9x1e + 7x2e", covariance_frame="token", mask_self=False)
    made["gauge, diagonal in token frame"] = GaugeForCausalLM(framed)
    ids = torch.randint(0, 2048, (8, 256))
    taken: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(repeat + 1):
        for name, model in made.items():
            taken[name].append(seconds(lambda model=model: model.train()(ids, labels=ids).loss.backward()))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    return [(name, value / medians["softmax decoder"]) for name, value in medians.items()]


def main() -> None:
    """Time both ways over lengths, then training steps."""
    wanted = arguments()
    torch.set_num_threads(wanted.threads)
    if wanted.peak:
        print_peak(wanted.peak[0], int(wanted.peak[1]))
        return
    print(f"one head of d = {DIM}, full covariance, batch {BATCH}")
    print("   N  pairwise ms  features ms  times faster  pairwise MiB  features MiB  largest difference")
    for length in wanted.lengths:
        inputs = beliefs(length)
        difference = float((pairwise(*inputs) - features(*inputs)).abs().max())
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(wanted.repeat):
            for way, work in WAYS.items():
                taken[way].append(seconds(lambda work=work, inputs=inputs: work(*inputs)))
        slow, fast = (statistics.median(taken[way]) for way in WAYS)
        most, least = (peak(way, length) for way in WAYS)
        print(f"{length:4d}  {1000 * slow:11.1f}  {1000 * fast:11.2f}  {slow / fast:12.0f}  {most:12.0f}  {least:12.1f}"
              f"  {difference:18.1e}", flush=True)  # fmt: skip
    print("\na training step, 8 x 256 tokens, 2 layers of width 72, over that of the softmax decoder")
    for name, ratio in step_ratio(wanted.repeat):
        print(f"{name:30s} {ratio:.2f}")


if __name__ == "__main__":
    main()
