"""Small trainings on text, healthy ones and diverging ones: what alarms say of them, and what the loss does.

python -m tests.monitoring.tracker.small_runs
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from heedful.loading.documents import load_documents
from heedful.monitoring.tracker.alarm import Alarm
from heedful.monitoring.tracker.attention_tracker import AttentionTracker

BATCH, LENGTH, WIDTH, LAYERS, HEADS = 8, 64, 64, 3, 4
RISE, OVER = 0.5, 10
"""A loss diverges where its mean over so many steps lies this far, in nats, above the least such mean before."""


def _sizes(**names: int) -> dict[str, int]:
    return {"vocab_size": 256, "bos_token_id": 0, "eos_token_id": 0, **names}


def llama(**given: float) -> nn.Module:
    sizes = _sizes(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=2 * WIDTH)
    return LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=LENGTH, **given))


def qwen3(**given: float) -> nn.Module:
    sizes = _sizes(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=2 * WIDTH)
    config = Qwen3Config(**sizes, num_key_value_heads=2, head_dim=16, max_position_embeddings=LENGTH, **given)
    return Qwen3ForCausalLM(config)


def gpt2(**given: float) -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(**_sizes(n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=LENGTH), **given)
    )


def neox(**given: float) -> nn.Module:
    sizes = _sizes(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=2 * WIDTH)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, max_position_embeddings=LENGTH, **given))


@dataclass(frozen=True)
class SmallRun:
    """A training: its model, peak rate, seed, steps, clipping and number format of its forward."""

    build: Callable[..., nn.Module]
    rate: float
    seed: int = 0
    steps: int = 300
    warmup: int = 20
    clip: float | None = 1.0
    half: bool = False


HEALTHY = {
    "Qwen3, rate 2e-3": SmallRun(qwen3, 2e-3),
    "Qwen3, rate 4e-3, another seed": SmallRun(qwen3, 4e-3, seed=1),
    "Llama, rate 2e-3": SmallRun(llama, 2e-3),
    "GPT-2, rate 1e-3": SmallRun(gpt2, 1e-3),
    "GPT-NeoX, rate 2e-3": SmallRun(neox, 2e-3, seed=2),
}
FAST = {"clip": None, "warmup": 100, "steps": 160}
DIVERGING = {
    "Llama, no QK-norm, rate to 1": SmallRun(llama, 1.0, **FAST),
    "GPT-NeoX, no QK-norm, rate to 0.5": SmallRun(neox, 0.5, **FAST),
    "GPT-2, no QK-norm, rate to 1": SmallRun(gpt2, 1.0, **FAST),
    "Qwen3, rate to 1": SmallRun(qwen3, 1.0, **FAST),
    "Llama, float16, rate to 0.5": SmallRun(llama, 0.5, half=True, **FAST),
}


def batches(seed: int, steps: int) -> Tensor:
    text = "\n".join(load_documents(None).texts).encode()
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    start = torch.randint(0, len(data) - LENGTH, (steps, BATCH), generator=torch.Generator().manual_seed(seed))
    return data[start[..., None] + torch.arange(LENGTH)]


def trained(run: SmallRun, out: Path, every: int = 5, brief_every: int | None = 1) -> tuple[list[float], list[Alarm]]:
    """Losses and alarms; the training goes on until its last step, or until the loss is not finite."""
    torch.manual_seed(run.seed)
    model = run.build().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.rate, weight_decay=0.1)
    losses: list[float] = []
    given = {"every": every, "brief_every": brief_every, "optimizer": optimizer, "write": lambda line: None}
    with AttentionTracker(model, out=out, **given) as tracker:
        for step, ids in enumerate(batches(run.seed, run.steps)):
            for group in optimizer.param_groups:
                group["lr"] = run.rate * min(1.0, (step + 1) / run.warmup)
            with torch.autocast("cpu", dtype=torch.float16, enabled=run.half):
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), run.clip or math.inf)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            tracker.step(loss, grad_norm=norm)
            if not math.isfinite(losses[-1]):
                break
        return losses, tracker.alarms.found


def diverged(losses: list[float]) -> int | None:
    """Step at which the loss diverges, or None."""
    least = math.inf
    for step in range(1, len(losses) + 1):
        mean = sum(losses[max(0, step - OVER) : step]) / min(step, OVER)
        if not math.isfinite(mean) or mean > least + RISE:
            return step
        if step >= OVER:
            least = min(least, mean)
    return None


def main() -> None:
    torch.set_num_threads(1)
    for group in (HEALTHY, DIVERGING):
        for name, run in group.items():
            with tempfile.TemporaryDirectory() as folder:
                losses, alarms = trained(run, Path(folder))
            told = "; ".join(f"step {alarm.step} {alarm.message}" for alarm in alarms[:3]) or "none"
            place = diverged(losses)
            print(
                f"{name}: loss {losses[0]:.2f} -> {losses[-1]:.2f}, diverges at {place}; {len(alarms)} alarms: {told}"
            )


if __name__ == "__main__":
    main()
