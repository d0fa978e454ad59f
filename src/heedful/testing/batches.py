"""What a test has at hand, a tensor of token ids or batches of a loader, as the sequences that a study reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from heedful.errors import UsageError
from heedful.loading.sequences import TokenBatch

Batches = Tensor | TokenBatch | Mapping[str, Any] | Iterable[Any]
"""Token ids ``(sequence, token)``, a mapping with ``input_ids``, an iterable of either, or heedful's own sequences."""


def as_sequences(batches: Batches, documents: Iterable[int] | None = None) -> TokenBatch:
    """Token ids with their documents; rows of different length are padded on the right and masked.

    Args:
        batches: Token ids ``(sequence, token)`` or ``(token,)``; a mapping with ``input_ids`` and, where some are
            padding, ``attention_mask``; an iterable of either; or sequences, which are returned as they are.
        documents: Document of each sequence; without it every sequence is a document of its own. Sequences cut from one
            text are not independent: name their document, or intervals come out too narrow.

    Returns:
        The sequences; no token of them is special or punctuation.

    Raises:
        UsageError: There is no sequence, ids are no whole numbers of such a shape, or the documents do not fit.
    """
    if isinstance(batches, TokenBatch):
        return batches
    parts = [batches] if isinstance(batches, Tensor | Mapping) else list(batches)
    rows = [row for part in parts for row in _rows(part)]
    if not any(len(row) for row in rows):
        raise UsageError("batches: expected at least one sequence of tokens, got none")
    named = list(range(len(rows))) if documents is None else [int(one) for one in documents]
    if len(named) != len(rows):
        raise UsageError(f"documents: expected one for each of {len(rows)} sequences, got {len(named)}")
    longest = max(len(row) for row in rows)
    ids = torch.stack([torch.nn.functional.pad(row, (0, longest - len(row))) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return TokenBatch(
        input_ids=ids,
        attention_mask=mask,
        document=torch.tensor(named),
        document_names=tuple(f"document {one}" for one in range(max(named) + 1)),
        special=mask == 0,
        punctuation=torch.zeros_like(mask, dtype=torch.bool),
        tokens=str,
        origin="token ids of a test",
        notes=(),
        fingerprint=hashlib.sha256(ids.numpy().tobytes()).hexdigest(),
    )


def _rows(part: Any) -> list[Tensor]:
    """The real tokens of each sequence of one batch, on the CPU."""
    ids = part.get("input_ids") if isinstance(part, Mapping) else part
    if isinstance(ids, list | tuple) and ids and all(isinstance(one, int) for one in ids):
        ids = torch.tensor(ids)
    if not isinstance(ids, Tensor) or ids.dim() not in (1, 2) or ids.is_floating_point() or ids.dtype == torch.bool:
        got = f"a tensor {tuple(ids.shape)} of {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
        raise UsageError(f"batches: expected token ids (sequence, token) of whole numbers, got {got}")
    if not ids.numel():
        return []
    ids = ids.reshape(-1, ids.shape[-1]).cpu().long()
    mask = part.get("attention_mask") if isinstance(part, Mapping) else None
    if mask is None:
        return list(ids)
    kept = mask.reshape(ids.shape).cpu().bool()
    return [row[seen] for row, seen in zip(ids, kept, strict=True)]
