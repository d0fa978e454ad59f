"""Split documents into windows of equal length and sample windows evenly over documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heedful.errors import InputRejected, UsageError
from heedful.loading.documents import Documents
from heedful.loading.given_text import documents_of, tokenizer_of
from heedful.loading.memory import ensure_fits
from heedful.loading.token_kinds import TokenText, mark_punctuation, surrounding_tokens
from heedful.loading.tokenizer_files import FILES
from heedful.loading.window_choice import Choice, choose_bounded
from heedful.loading.wording import reason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heedful.loading.given_text import GivenText, GivenTokenizer

_BYTES_PER_TOKEN = 64
"""Ids, mask and marks of one token, and the Python numbers they are made from."""

_UNKNOWN_SHARE = 0.1
_TOO_UNKNOWN = 0.5
"""Beyond it, what the model reads is no longer the text."""


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Batch of token sequences with attention mask, document index, and masks of special and punctuation tokens.

    Attributes:
        input_ids: ``(sequence, token)``, int64.
        attention_mask: ``(sequence, token)``, int64; 1 is a real token, 0 is padding on the right.
        document: ``(sequence,)``, int64; index into ``document_names``.
        document_names: Names of the documents or blocks that are used.
        special: ``(sequence, token)``, bool; special tokens and padding.
        punctuation: ``(sequence, token)``, bool; tokens of punctuation alone.
        tokens: Text of one token id; data, to be escaped where it is shown.
        origin: Where the text came from.
        notes: What was cut, padded or too little.
        fingerprint: SHA-256 of ids and mask, hexadecimal.
        blocks: Whether blocks of fewer than 16 documents stand for documents: they are not independent.
        copies: Documents dropped as copies of others.
        mask_token: Id by which the tokenizer hides a token, or None.
    """

    input_ids: Tensor
    attention_mask: Tensor
    document: Tensor
    document_names: tuple[str, ...]
    special: Tensor
    punctuation: Tensor
    tokens: Callable[[int], str]
    origin: str
    notes: tuple[str, ...]
    fingerprint: str
    mask_token: int | None = None
    blocks: bool = False
    copies: int = 0


def make_sequences(
    documents: GivenText,
    tokenizer: GivenTokenizer | None,
    *,
    seq_len: int = 128,
    sequences: int = 64,
    seed: int = 0,
    max_positions: int | None = None,
    vocab_size: int | None = None,
    trained_positions: int | None = None,
) -> TokenBatch:
    """Split documents into windows of ``seq_len`` tokens, special tokens included, and choose a sample.

    Args:
        documents: The text: what ``heedful.load_documents`` gives, strings, or paths of text files.
        tokenizer: The model's tokenizer, or its path.
        seq_len: Tokens of a sequence.
        sequences: Sequences wanted.
        seed: Seed of the choice.
        max_positions: Longest sequence that learned positions allow (``LoadedModel.max_positions``).
        vocab_size: Token ids that the model embeds (``LoadedModel.vocab_size``).
        trained_positions: Longest sequence the model was made for (``LoadedModel.trained_positions``).

    Returns:
        The batch; neighbours come from different documents wherever there are two.

    Raises:
        UsageError: A count is not positive, or ``seq_len`` is beyond the positions or holds no text.
        InputRejected: There is no tokenizer, no token, a token id that the model does not embed, or most tokens
            of the text are unknown to the tokenizer.

    Example:
        >>> import heedful
        >>> tokenizer = heedful.load_model().tokenizer
        >>> make_sequences(heedful.load_documents(), tokenizer, seq_len=16, sequences=4).input_ids.shape
        torch.Size([4, 16])
    """
    _check_counts(seq_len, sequences, max_positions)
    documents, tokenizer = documents_of(documents), tokenizer_of(tokenizer)
    ensure_fits(
        seq_len * sequences * _BYTES_PER_TOKEN,
        f"{sequences:,} sequences of {seq_len:,} tokens",
        hint="lower --seq-len or --sequences",
    )
    if tokenizer is None:
        message = f"the model has no tokenizer to read it with: no {FILES} was found"
        raise InputRejected(documents.origin, message, "give --tokenizer PATH")
    before, after = surrounding_tokens(tokenizer)
    size = seq_len - len(before) - len(after)
    if size < 1:
        message = f"no room for text: every sequence has {len(before) + len(after)} special tokens"
        raise UsageError(f"--seq-len {seq_len}: {message} (raise it)")
    choice = _choose(documents, tokenizer, size, sequences, seed)
    rows = [[*before, *window, *after] for window in choice.windows]
    notes = [*documents.notes, *choice.notes]
    if trained_positions is not None and max(map(len, rows)) > trained_positions:
        notes.append(f"extrapolation: {seq_len} tokens, the model was made for {trained_positions}")
    return _batch(rows, choice, tokenizer, (*before, *after), vocab_size, documents.origin, notes)


def _check_counts(seq_len: int, sequences: int, max_positions: int | None) -> None:
    for flag, value in (("--seq-len", seq_len), ("--sequences", sequences)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{flag} {value}: expected a whole number from 1 up")
    if max_positions is not None and seq_len > max_positions:
        raise UsageError(
            f"--seq-len {seq_len}: {max_positions} is the maximum of the model's learned positions (lower it)"
        )


def _choose(documents: Documents, tokenizer: PreTrainedTokenizerBase, size: int, count: int, seed: int) -> Choice:
    def tokenise(text: str) -> list[int]:
        try:
            encoding = tokenizer(text, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        except Exception as error:  # tokenizers raise whatever their parts raise
            raise InputRejected(documents.origin, f"not tokenised: {reason(error)}", "check the tokenizer") from error
        return list(encoding["input_ids"])

    choice = choose_bounded(documents, tokenise, size=size, count=count, seed=seed)
    if not choice.windows:
        raise InputRejected(documents.origin, "the tokenizer makes no token of it", "give text in its language")
    return choice


def _batch(
    rows: list[list[int]],
    choice: Choice,
    tokenizer: PreTrainedTokenizerBase,
    around: tuple[int, ...],
    vocab_size: int | None,
    origin: str,
    notes: list[str],
) -> TokenBatch:
    largest = max(map(max, rows))
    if vocab_size is not None and largest >= vocab_size:
        message = f"its tokenizer gives token id {largest}, the model embeds {vocab_size} tokens"
        raise InputRejected(origin, message, "give the tokenizer that the model was trained with")
    ids, mask = _padded(rows, _filler(tokenizer, around))
    named = torch.tensor(sorted({*tokenizer.all_special_ids, *around}), dtype=torch.int64)
    special = torch.isin(ids, named) | (mask == 0)
    notes += _unknown(rows, tokenizer.unk_token_id, len(around), origin)
    names = tuple(dict.fromkeys(choice.sources))
    text = TokenText(tokenizer)
    text.read(ids.unique().tolist(), origin)
    return TokenBatch(
        input_ids=ids,
        attention_mask=mask,
        document=torch.tensor([names.index(name) for name in choice.sources]),
        document_names=names,
        special=special,
        punctuation=mark_punctuation(ids, text) & ~special,
        tokens=text,
        origin=origin,
        notes=tuple(notes),
        fingerprint=_fingerprint(ids, mask),
        mask_token=tokenizer.mask_token_id,
        blocks=choice.blocks,
        copies=choice.copies,
    )


def _unknown(rows: list[list[int]], unknown: int | None, around: int, origin: str) -> list[str]:
    """A note where many tokens of the text are unknown to the tokenizer; a refusal where most are."""
    share = sum(row.count(-1 if unknown is None else unknown) for row in rows) / max(
        1, sum(len(row) - around for row in rows)
    )
    message = f"{share:.0%} of the tokens are unknown to the tokenizer"
    if share > _TOO_UNKNOWN:
        fix = "give --text in the model's language, or the --tokenizer that it was trained with"
        raise InputRejected(origin, message, fix)
    return [f"{message}: is it the model's own?"] if share > _UNKNOWN_SHARE else []


def _padded(rows: list[list[int]], filler: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [filler] * (longest - len(row)) for row in rows], dtype=torch.int64)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=torch.int64)
    return ids, mask


def _filler(tokenizer: PreTrainedTokenizerBase, around: tuple[int, ...]) -> int:
    """An id to pad with; the mask hides it, so any that the model embeds will do."""
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, *around, 0)
    return next(int(token) for token in candidates if token is not None)


def _fingerprint(ids: Tensor, mask: Tensor) -> str:
    digest = hashlib.sha256(repr(tuple(ids.shape)).encode())
    for tensor in (ids, mask):
        digest.update(tensor.numpy().astype("<i8").tobytes())
    return digest.hexdigest()
