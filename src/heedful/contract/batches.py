"""Convert user input to one batch for the model's forward; every key of a given batch is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heedful.errors import UsageError

LENGTH = 128
"""Tokens of the batch that is made where none is given."""


def first_batch(model: nn.Module, batch: Any, tokenizer: Any = None) -> tuple[Any, list[str]]:
    """Return one batch, and notes that state where it comes from.

    Args:
        model: The model.
        batch: A mapping, token ids, texts with a tokenizer, a path, a loader (its first batch is taken), or None.
        tokenizer: Makes tokens of texts.

    Raises:
        UsageError: Nothing can be made of it.
    """
    if batch is None:
        return drawn_ids(model), ["no batch was given: random tokens, nothing packed or padded"]
    if isinstance(batch, Tensor | Mapping):
        return batch, []
    if isinstance(batch, Path):
        return read_batch(batch), [f"batch of {batch.name}"]
    if isinstance(batch, str) or (isinstance(batch, Sequence) and batch and all(isinstance(t, str) for t in batch)):
        return _tokenized(batch, tokenizer), []
    if isinstance(batch, Iterable):
        first = next(iter(batch), None)
        if first is None:
            raise UsageError("batch: expected at least one batch of the loader, got none")
        if isinstance(first, Tensor | Mapping):
            return first, ["the first batch of the loader"]
        if isinstance(first, tuple | list) and first and isinstance(first[0], Tensor):
            return first[0], ["the first tensor of the loader's first batch"]
    raise UsageError(f"batch: expected a mapping of the forward's arguments, token ids or a loader, got {_kind(batch)}")


def _kind(batch: Any) -> str:
    return type(batch).__name__


def _tokenized(texts: Any, tokenizer: Any) -> dict[str, Any]:
    if tokenizer is None:
        raise UsageError("batch: text needs a tokenizer (tokenizer=..., or pass token ids)")
    several = not isinstance(texts, str) and len(texts) > 1
    made = tokenizer(texts if not isinstance(texts, str) else [texts], return_tensors="pt", padding=several)
    return {name: value for name, value in made.items() if isinstance(value, Tensor)}


def drawn_ids(model: nn.Module) -> dict[str, Any]:
    """Return random token ids with a fixed seed, as long as the model's positions allow.

    Raises:
        UsageError: The model shows no embedding of tokens.
    """
    from heedful.loading.positions import embedded_tokens, learned_positions

    known = embedded_tokens(model)
    if known is None:
        raise UsageError(f"batch: {type(model).__name__} shows no embedding of tokens (give a batch)")
    length = min(LENGTH, learned_positions(model) or LENGTH)
    generator = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(min(4, known - 1), known, (1, length), generator=generator)}


def read_batch(path: Path) -> dict[str, Tensor]:
    """Read a batch of named tensors from a ``.safetensors`` or ``.pt`` file, without executing code from it.

    Raises:
        UsageError: The file is no mapping of names to tensors.
    """
    if not path.is_file():
        raise UsageError(f"--batch {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the readers raise
        message = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise UsageError(f"--batch {path}: expected a file of named tensors: {message}") from error
    if not isinstance(found, Mapping) or not all(isinstance(one, Tensor) for one in found.values()):
        raise UsageError(f"--batch {path}: expected a mapping of names to tensors, got {type(found).__name__}")
    return {str(name): value for name, value in found.items()}
