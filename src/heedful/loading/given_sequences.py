"""Convert token ids, data-loader batches, or text with a tokenizer to the sequences of a study."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import UsageError
from heedful.loading.given_text import documents_of, is_text, is_tokenizer, tokenizer_of
from heedful.loading.sequences import TokenBatch, make_sequences
from heedful.loading.token_kinds import TokenText, mark_punctuation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heedful.loading.given_text import GivenTokenizer

Batches = Tensor | np.ndarray | TokenBatch | str | Mapping[str, Any] | Iterable[Any]
"""Token ids ``(sequence, token)``, a mapping with ``input_ids``, an iterable of either, heedful's own sequences, or
text where a tokenizer is given beside it."""


def as_sequences(
    batches: Batches,
    documents: Iterable[int] | None = None,
    *,
    tokenizer: GivenTokenizer | None = None,
    seq_len: int = 128,
    sequences: int = 64,
    seed: int = 0,
) -> TokenBatch:
    """Convert token ids and their documents to a ``TokenBatch``; shorter rows are right-padded and masked.

    Args:
        batches: Token ids ``(sequence, token)`` or ``(token,)``, as a tensor, a numpy array or lists; a mapping with
            ``input_ids`` and, where some are padding, ``attention_mask``; an iterable of either; strings or paths of
            text files, which the tokenizer reads; or sequences, which are returned as they are.
        documents: Document of each sequence; without it every sequence is a document of its own. Sequences cut from one
            text are not independent: name their document, or intervals come out too narrow.
        tokenizer: Of the model; it reads text, and tells special tokens and punctuation among ids. Without it no token
            is either.
        seq_len: Tokens of a sequence that is cut from text.
        sequences: Sequences to cut from text.
        seed: Seed of that choice.

    Returns:
        The sequences.

    Raises:
        UsageError: There is no sequence, ids are no whole numbers of such a shape, the documents do not fit, or text
            came without a tokenizer.

    Example:
        >>> import torch
        >>> as_sequences(torch.tensor([[1, 2, 3], [4, 5, 6]])).document.tolist()
        [0, 1]
    """
    if isinstance(batches, TokenBatch):
        return batches
    reader = tokenizer_of(tokenizer)
    if is_text(batches):
        if reader is None:
            raise UsageError("text came without a tokenizer to read it (give tokenizer=, or token ids)")
        return make_sequences(documents_of(batches), reader, seq_len=seq_len, sequences=sequences, seed=seed)  # type: ignore[arg-type]
    rows = [row for part in _parts(batches) for row in _rows(part)]
    if not any(len(row) for row in rows):
        raise UsageError("batches: expected at least one sequence of tokens, got none")
    if documents is not None and (isinstance(documents, str) or not isinstance(documents, Iterable)):
        raise UsageError(f"documents: expected one for each of {len(rows)} sequences, got {documents!r:.60}")
    named = list(range(len(rows))) if documents is None else [int(one) for one in documents]
    if len(named) != len(rows):
        raise UsageError(f"documents: expected one for each of {len(rows)} sequences, got {len(named)}")
    return _batch(rows, named, reader)


def _parts(batches: Any) -> list[Any]:
    if isinstance(batches, Tensor | np.ndarray | Mapping):
        return [batches]
    if is_tokenizer(batches):
        raise UsageError("batches: expected sequences, got a tokenizer alone (give the text that it shall read too)")
    if not isinstance(batches, Iterable) or isinstance(batches, bytes | torch.nn.Module):
        raise UsageError(f"batches: expected token ids, batches or text, got {type(batches).__name__}")
    parts = list(batches)
    return [parts] if parts and all(_is_whole(one) for one in parts) else parts


def _batch(rows: list[Tensor], named: list[int], tokenizer: PreTrainedTokenizerBase | None) -> TokenBatch:
    longest = max(len(row) for row in rows)
    ids = torch.stack([torch.nn.functional.pad(row, (0, longest - len(row))) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    special, punctuation, tokens, hidden = mask == 0, torch.zeros_like(mask, dtype=torch.bool), str, None
    if tokenizer is not None:
        text = TokenText(tokenizer)
        special = special | torch.isin(ids, torch.tensor(sorted(tokenizer.all_special_ids), dtype=torch.int64))
        punctuation = mark_punctuation(ids, text) & ~special
        tokens, hidden = text, tokenizer.mask_token_id  # type: ignore[assignment]
    return TokenBatch(
        input_ids=ids,
        attention_mask=mask,
        document=torch.tensor(named),
        document_names=tuple(f"document {one}" for one in range(max(named) + 1)),
        special=special,
        punctuation=punctuation,
        tokens=tokens,
        origin="token ids that were given",
        notes=(),
        fingerprint=hashlib.sha256(ids.numpy().tobytes()).hexdigest(),
        mask_token=hidden,
    )


def _is_whole(one: object) -> bool:
    return isinstance(one, int | np.integer) and not isinstance(one, bool)


def _rows(part: Any) -> list[Tensor]:
    """The real tokens of each sequence of one batch, on the CPU."""
    ids = _ids(part.get("input_ids") if isinstance(part, Mapping) else part)
    if not ids.numel():
        return []
    ids = ids.reshape(-1, ids.shape[-1]).cpu().long()
    if bool((ids < 0).any()):
        raise UsageError(f"batches: expected token ids from 0 up, got {int(ids.min())} (labels of -100 are no ids)")
    mask = part.get("attention_mask") if isinstance(part, Mapping) else None
    if mask is None:
        return list(ids)
    mask = torch.as_tensor(mask)
    if mask.numel() != ids.numel():
        raise UsageError(f"attention_mask: expected the shape of input_ids {tuple(ids.shape)}, got {tuple(mask.shape)}")
    kept = mask.reshape(ids.shape).cpu().bool()
    return [row[seen] for row, seen in zip(ids, kept, strict=True)]


def _ids(given: Any) -> Tensor:
    ids = given
    if isinstance(ids, list | tuple) and ids:
        nested = all(isinstance(one, list | tuple) for one in ids) and len({len(one) for one in ids}) == 1
        flat = [one for row in ids for one in row] if nested else ids
        if all(_is_whole(one) for one in flat):
            ids = torch.tensor(ids)
    elif isinstance(ids, np.ndarray):
        ids = torch.as_tensor(ids) if ids.dtype.kind in "iu" else ids
    if not isinstance(ids, Tensor) or ids.dim() not in (1, 2) or ids.is_floating_point() or ids.dtype == torch.bool:
        shown = f"{tuple(ids.shape)} of {ids.dtype}" if isinstance(ids, Tensor | np.ndarray) else ""
        got = f"{'a tensor' if isinstance(ids, Tensor) else 'an array'} {shown}" if shown else type(ids).__name__
        raise UsageError(f"batches: expected token ids (sequence, token) of whole numbers, got {got}")
    return ids
