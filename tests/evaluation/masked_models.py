"""Untrained models that see a window of keys, or padded text, and the text that they read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.initialisations import INITIALISATIONS
from tests.evaluation.material import tiny_bert, tiny_llama
from torch import nn

from heedful.loading.sequences import TokenBatch

WINDOW, LENGTH, DOCUMENTS = 8, 24, 8
KINDS = ("window", "padded", "padded left", "window, padded", "encoder", "encoder, padded")
INITS = ("0.02", "PyTorch", "1 / fan-in", "4 / fan-in", "deep-scaled")


def windowed() -> nn.Module:
    """Rotary positions, grouped keys, the last ``WINDOW`` keys alone."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        sliding_window=WINDOW,
        bos_token_id=0,
        eos_token_id=1,
    )
    return MistralForCausalLM(config).eval()


def masked_model(kind: str, init: str, seed: int) -> nn.Module:
    """A fresh model of a kind.

    Args:
        kind: One of ``KINDS``.
        init: One of ``INITS``.
        seed: Seed of its weights.
    """
    made: Any = windowed if "window" in kind else tiny_bert if "encoder" in kind else tiny_llama
    model = made()
    torch.manual_seed(seed)
    fresh = type(model)(model.config)
    INITIALISATIONS[init](fresh)
    return fresh.eval()


def masked_text(kind: str, seed: int, documents: int = DOCUMENTS, shortest: int = 10) -> TokenBatch:
    """Random text; where the kind says so, documents of ``shortest`` to 24 tokens in rows of 24.

    Args:
        kind: One of ``KINDS``.
        seed: Seed of the tokens.
        documents: Number of documents.
        shortest: Least number of tokens of a padded document.
    """
    ids = random_ids(documents, LENGTH, seed)
    text = sequences_of(ids)
    if "padded" not in kind:
        return text
    lengths = torch.randint(shortest, LENGTH + 1, (documents, 1), generator=torch.Generator().manual_seed(seed))
    place = torch.arange(LENGTH)
    mask = (place >= LENGTH - lengths) if kind.endswith("left") else (place < lengths)
    return replace(text, attention_mask=mask.long(), input_ids=torch.where(mask, ids, 0))
