"""Facts about single tokens: display text, special tokens, punctuation."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heedful.errors import InputRejected
from heedful.loading.tokenizer_files import LONGEST_TOKEN, bounds_for, tried

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNREADABLE = "\ufffd"
_CONTINUES = "##"
_CHARACTERS = 64
"""Set aside for the text of a token."""


class TokenText:
    """Display text of each token id. It is untrusted: escape it where it is shown.

    Args:
        tokenizer: The tokenizer that knows the ids.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._cached = cache(self._decoded)
        self._read: dict[int, str] = {}

    def read(self, tokens: Sequence[int], origin: str) -> None:
        """Decode the display text of many tokens at once, in a child process with limits, and store it.

        Args:
            tokens: Their ids.
            origin: The text that they are of, for messages.

        Raises:
            InputRejected: The tokenizer went beyond its limits, or failed.
        """
        bounds = bounds_for(_CHARACTERS * len(tokens))
        texts = tried(lambda: [self._decoded(token) for token in tokens], bounds, origin)
        if long := next((text for text in texts if len(text) > LONGEST_TOKEN), None):
            message = f"its tokenizer makes {len(long):,} characters of one token, expected at most {LONGEST_TOKEN:,}"
            raise InputRejected(origin, message, "save the tokenizer again")
        self._read |= dict(zip(tokens, texts, strict=True))

    def __call__(self, token: int) -> str:
        """Text of one token, blanks included; bytes that are no text come under the vocabulary's own name.

        Args:
            token: Its id.

        Returns:
            The text.
        """
        known = self._read.get(int(token))
        return self._cached(int(token)) if known is None else known

    def _decoded(self, token: int) -> str:
        text = str(self._tokenizer.decode([token]))
        if text and _UNREADABLE not in text:
            return text
        return str(self._tokenizer.convert_ids_to_tokens(token))


def is_punctuation(text: str) -> bool:
    """Return whether a text, ignoring blanks, is only punctuation.

    Args:
        text: Any text.

    Returns:
        True for ``","`` and ``" ..."``; False for the empty text.
    """
    bare = text.strip()
    if bare.startswith(_CONTINUES) and len(bare) > len(_CONTINUES):
        bare = bare.removeprefix(_CONTINUES)
    return bool(bare) and all(c in string.punctuation or unicodedata.category(c).startswith("P") for c in bare)


def mark_punctuation(ids: Tensor, text: TokenText) -> Tensor:
    """Return a bool mask of tokens that are punctuation.

    Args:
        ids: Token ids.
        text: Their text.

    Returns:
        Booleans of the same shape.
    """
    marks = [token for token in ids.unique().tolist() if is_punctuation(text(token))]
    return torch.isin(ids, torch.tensor(marks, dtype=ids.dtype))


def surrounding_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer adds before and after a text by default.

    Args:
        tokenizer: Any tokenizer.

    Returns:
        Ids before and ids after; both empty where they cannot be told apart from the text.
    """
    whole = list(tokenizer("a")["input_ids"])
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    for start in range(len(whole) - len(bare) + 1):
        if bare and whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []
