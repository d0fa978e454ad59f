"""Train on two letters that alternate: ``python -P -m tiny_gpt.train weights.safetensors``."""

import sys

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from tiny_gpt.model import TinyGPT, build


def alternating(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Bytes of sequences like ``ababab``, ``(count, length)``."""
    first = torch.randint(0, 26, (count, 1), generator=generator)
    second = (first + torch.randint(1, 26, (count, 1), generator=generator)) % 26
    return torch.cat([first, second], 1).repeat(1, length // 2 + 1)[:, :length] + ord("a")


def train(steps: int = 150, length: int = 32) -> TinyGPT:
    """A trained model; seconds on one core."""
    torch.manual_seed(0)
    model, generator = build(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        ids = alternating(32, length, generator)
        loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


if __name__ == "__main__":
    save_file(train().state_dict(), sys.argv[1])
