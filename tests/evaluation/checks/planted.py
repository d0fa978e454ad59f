"""Models whose attention is known because it was planted, and sequences to run them on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heedful.loading.sequences import TokenBatch

VOCABULARY = 24


def sequences_of(ids: Tensor) -> TokenBatch:
    """Every sequence a document of its own, no special tokens; multiples of 7 stand for punctuation."""
    return TokenBatch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        document=torch.arange(len(ids)),
        document_names=tuple(f"d{i}" for i in range(len(ids))),
        special=torch.zeros_like(ids, dtype=torch.bool),
        punctuation=ids % 7 == 0,
        tokens=str,
        origin="planted",
        notes=(),
        fingerprint="planted",
    )


def random_ids(count: int, length: int, seed: int = 0, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(0, vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))


def alternating_ids(count: int, length: int, seed: int = 0) -> Tensor:
    """Token i + 1 equals token i - 1: whoever reads the previous token predicts the next one."""
    pair = random_ids(count, 2, seed)
    pair[:, 1] = torch.where(pair[:, 1] == pair[:, 0], (pair[:, 0] + 1) % VOCABULARY, pair[:, 1])
    return pair.repeat(1, length // 2 + 1)[:, :length]


class PositionalAttention(nn.Module):
    """One attention module with planted query and key by position; values are the tokens themselves.

    Args:
        queries: ``(head, position, dim)``.
        keys: ``(head, position, dim)``.
        fault: ``leak``, ``dead``, ``unused``, ``nan logits`` or "".
    """

    def __init__(self, queries: Tensor, keys: Tensor, width: int, fault: str = "") -> None:
        super().__init__()
        self.query = nn.Parameter(queries.clone())
        self.key = nn.Parameter(keys.clone())
        self.value = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.value.weight)
        self.fault = fault

    def reset_parameters(self) -> None:
        """What an untrained module of this kind has."""
        nn.init.normal_(self.query, std=0.02)
        nn.init.normal_(self.key, std=0.02)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, length, _ = hidden.shape
        heads = self.query.shape[0]
        query, key = (p[:, :length].expand(batch, -1, -1, -1) for p in (self.query, self.key))
        if self.fault == "dead":
            query = query.detach()
        if self.fault == "nan logits":
            query = torch.cat([query[:, :1] * torch.tensor(float("nan")), query[:, 1:]], dim=1)
        value = self.value(hidden)[:, None].expand(-1, heads, -1, -1)
        output = F.scaled_dot_product_attention(query, key, value, is_causal=self.fault != "leak", scale=1.0)
        output = output.mean(1)
        return output * 1e-6 if self.fault == "unused" else output


class PlantedModel(nn.Module):
    """Embedding, positional attention, and logits that repeat what attention read."""

    def __init__(self, queries: Tensor, keys: Tensor, fault: str = "", gain: float = 12.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, VOCABULARY)
        nn.init.eye_(self.embedding.weight)
        self.attention = PositionalAttention(queries, keys, VOCABULARY, fault)
        self.gain = gain

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.gain * self.attention(self.embedding(input_ids))


def uniform_heads(heads: int, length: int) -> tuple[Tensor, Tensor]:
    """Zero queries: causal-uniform attention, free of content."""
    return torch.zeros(heads, length, 4), torch.randn(heads, length, 4, generator=torch.Generator().manual_seed(1))


def previous_token_heads(heads: int, length: int, strength: float = 40.0) -> tuple[Tensor, Tensor]:
    """One-hot queries that fit the key one position before."""
    key = torch.eye(length).expand(heads, -1, -1)
    query = torch.zeros(heads, length, length)
    query[:, torch.arange(1, length), torch.arange(length - 1)] = strength
    query[:, 0, 0] = strength
    return query, key


class Block(nn.Module):
    """Causal rotary attention and nothing else."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        query, key, value = self.qkv(self.norm(hidden)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = rotate(query), rotate(key)
        output = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return hidden + self.out(output.transpose(1, 2).reshape(batch, length, width))


def rotate(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    speed = 1.0 / (100.0 ** (torch.arange(half) / half))
    angle = torch.arange(x.shape[-2])[:, None] * speed[None, :]
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * angle.cos() - right * angle.sin(), left * angle.sin() + right * angle.cos()], dim=-1)


class AttentionOnly(nn.Module):
    """Two layers of attention, no feed-forward: enough for a previous-token and an induction head."""

    def __init__(self, vocabulary: int = 64, width: int = 64, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden))


def repeating_ids(count: int, length: int, generator: torch.Generator, vocabulary: int = 64) -> Tensor:
    """Random tokens repeated with a period of 8 to 32, drawn anew for each sequence."""
    rows = []
    for _ in range(count):
        period = int(torch.randint(8, min(33, length // 2 + 1), (1,), generator=generator))
        cycle = torch.randint(0, vocabulary, (period,), generator=generator)
        rows.append(cycle.repeat(length // period + 1)[:length])
    return torch.stack(rows)


def train_on_repeats(seed: int = 0, steps: int = 700, length: int = 64) -> AttentionOnly:
    """Train the attention-only model; under a minute on one core."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AttentionOnly()
    generator = torch.Generator().manual_seed(seed + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(steps):
        ids = repeating_ids(32, length, generator)
        loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
