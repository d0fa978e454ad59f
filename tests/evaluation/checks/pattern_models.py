"""Models whose attention follows a planted function of the tokens, and one check judged on its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from tests.evaluation.checks.planted import VOCABULARY, sequences_of
from torch import Tensor, nn

from heedful.evaluation.result import Finding
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.loading.sequences import TokenBatch

Pattern = Callable[[Tensor], Tensor]
"""From token ids ``(sequence, token)`` to planted logits, broadcastable to ``(sequence, head, query, key)``."""


def distance_of(ids: Tensor) -> Tensor:
    position = torch.arange(ids.shape[1])
    return position[:, None] - position[None, :]


def nothing(ids: Tensor) -> Tensor:
    return torch.zeros(1, 1, ids.shape[1], ids.shape[1])


def own_token(ids: Tensor) -> Tensor:
    """Earlier copies of the query's own token."""
    return 4.0 * (ids[:, None, :, None] == ids[:, None, None, :])


def first_key(ids: Tensor) -> Tensor:
    return 6.0 * (torch.arange(ids.shape[1]) == 0)[None, None, None, :]


def near_keys(ids: Tensor) -> Tensor:
    return 2.0 * (distance_of(ids) <= 5)[None, None]


def previous_key(ids: Tensor) -> Tensor:
    return 40.0 * (distance_of(ids) == 1)[None, None]


def punctuation_keys(ids: Tensor) -> Tensor:
    return 3.0 * (ids % 7 == 0)[:, None, None, :]


def induction_keys(ids: Tensor) -> Tensor:
    """The token after the latest earlier copy of the query's token: a hand-built induction head."""
    same = (ids[:, :, None] == ids[:, None, :]) & (distance_of(ids) > 0)
    latest = torch.where(same, torch.arange(ids.shape[1]), -1).amax(-1)
    following = F.one_hot((latest + 1).clamp_min(0), ids.shape[1])
    return 40.0 * following[:, None]


def thinning(ids: Tensor) -> Tensor:
    """Logits that lose their spread as more keys come into sight."""
    seen = torch.arange(1, ids.shape[1] + 1)[:, None]
    alternate = torch.arange(ids.shape[1]) % 2
    return (6.0 * alternate / seen.sqrt() * 2)[None, None]


class PlantedLayer(nn.Module):
    """Attention whose logits are a pattern of the tokens, times one trainable strength a head; values are its input."""

    def __init__(self, pattern: Pattern, heads: int = 2, width: int = VOCABULARY, causal: bool = True) -> None:
        super().__init__()
        self.pattern, self.causal = pattern, causal
        self.strength = nn.Parameter(torch.ones(heads))
        self.value = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.value.weight)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.strength, std=0.02)

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        heads, (batch, length, _) = len(self.strength), hidden.shape
        logits = (self.strength[:, None, None] * self.pattern(ids)).expand(batch, heads, length, length)
        if self.causal:
            logits = logits.masked_fill(distance_of(ids) < 0, -math.inf)
        empty = torch.zeros(batch, heads, length, 4)
        value = self.value(hidden)[:, None].expand(-1, heads, -1, -1)
        return F.scaled_dot_product_attention(empty, empty, value, attn_mask=logits).mean(1)


class PatternModel(nn.Module):
    """Planted layers side by side on the embedded tokens; logits repeat what they read on average."""

    def __init__(self, *patterns: Pattern, heads: int = 2, gain: float = 12.0, causal: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, VOCABULARY)
        nn.init.eye_(self.embedding.weight)
        self.layers = nn.ModuleList(PlantedLayer(pattern, heads, causal=causal) for pattern in patterns)
        self.gain = gain

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)
        return self.gain * torch.stack([layer(hidden, input_ids) for layer in self.layers]).mean(0)


class SpreadModel(nn.Module):
    """Layers that are fed more or less diverse representations and attend more or less sharply.

    Args:
        spread: Share of the token's own vector in what enters each layer; the rest is common to all tokens.
        sharpness: Strength of each layer's attention to copies of its token.
    """

    def __init__(self, spread: list[float], sharpness: list[float]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, VOCABULARY)
        nn.init.eye_(self.embedding.weight)
        self.layers = nn.ModuleList(PlantedLayer(own_token, heads=1) for _ in spread)
        for layer, strength in zip(self.layers, sharpness, strict=True):
            nn.init.constant_(layer.strength, strength)
        self.spread = spread

    def forward(self, input_ids: Tensor) -> Tensor:
        own, common = self.embedding(input_ids), torch.ones(VOCABULARY) / math.sqrt(VOCABULARY)
        entering = [share * own + (1 - share) * common for share in self.spread]
        return torch.stack([layer(x, input_ids) for layer, x in zip(self.layers, entering, strict=True)]).mean(0)


def marked(sequences: TokenBatch, special: Tensor) -> TokenBatch:
    """The same sequences with some tokens special, which then are no punctuation."""
    return replace(sequences, special=special, punctuation=sequences.punctuation & ~special)


def study_of(model: nn.Module, sequences: TokenBatch | Tensor, **options: Any) -> Study:
    """A study with few resamples and, unless asked for, no null models."""
    given = sequences if isinstance(sequences, TokenBatch) else sequences_of(sequences)
    settings = Settings(**{"preset": "quick", "null_models": 0, "resamples": 499, **options})
    return Study(model, given, settings)


def judged(
    check: Callable[[Study], list[Finding]], model: nn.Module, sequences: TokenBatch | Tensor, **options: Any
) -> list[Finding]:
    """The findings of one check alone, the model's first."""
    study = study_of(model, sequences, **options)
    with evaluating(model):
        return check(study)
