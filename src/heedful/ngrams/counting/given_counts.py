"""Accept counts in several forms, and compare them with other counts and a text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from heedful.errors import InputRejected, UsageError
from heedful.loading.given_text import is_text_file
from heedful.ngrams.counting.folder import sha256_of
from heedful.ngrams.counting.reading import Counts, read_counts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from heedful.ngrams.counting.count import CountSummary

    GivenCounts: TypeAlias = str | Path | Counts | CountSummary
    """The folder of counts, or what ``heedful.read_counts`` or ``heedful.count`` gave."""


def counts_of(counts: GivenCounts, tokenizer: Tokenizer | None = None) -> Counts:
    """Return counts from a folder or object, after checking that they are complete.

    Args:
        counts: Their folder, or what ``heedful.read_counts`` or ``heedful.count`` gave.
        tokenizer: A tokenizer that must be the one they were counted with.

    Raises:
        UsageError: It is neither.
        InputRejected: The folder holds no whole counts, or they are of another tokenizer.
    """
    place = getattr(counts, "out", None) or (counts.path if isinstance(counts, Counts) else counts)
    if not isinstance(place, str | os.PathLike):
        message = "expected the folder that heedful.count wrote, or what heedful.read_counts gave"
        raise UsageError(f"counts: {message}; got {type(counts).__name__}")
    if isinstance(counts, Counts) and tokenizer is None:
        return counts
    return read_counts(Path(place), tokenizer=tokenizer)


def other_counts(folder: GivenCounts | None, stored: Counts) -> Counts | None:
    """Return counts of another text, after checking that they use the same tokenizer.

    Args:
        folder: Of those counts, or they themselves; None for none.
        stored: The others.

    Raises:
        InputRejected: They share a text, or the tokenizer is another.
    """
    if folder is None:
        return None
    found = counts_of(folder, tokenizer=stored.tokenizer)
    sums = {one.sha256 for one in stored.manifest.texts}
    shared = [one.name for one in found.manifest.texts if one.sha256 in sums]
    if shared:
        message = f"its text {shared[0]} is one that {stored.path} was counted from"
        raise InputRejected(str(found.path), message, "count a text that the others did not see")
    return found


def was_counted(stored: Counts, text: Iterable[Any]) -> str:
    """Return whether text files were counted, by checksum: ``yes``, ``partly`` or ``unknown``.

    Args:
        stored: The counts.
        text: Paths; anything else is not known to have been counted.

    Returns:
        ``yes``, ``partly`` or ``unknown``.
    """
    sums = {one.sha256 for one in stored.manifest.texts}
    known = [is_text_file(path) and sha256_of(Path(path)) in sums for path in text]
    return "unknown" if not any(known) else "yes" if all(known) else "partly"


def backend(tokenizer: Any, model: str) -> Any:
    """Return a model's tokenizer as an object of the ``tokenizers`` library, the form that counts use.

    Args:
        tokenizer: A model's.
        model: The model, for messages.

    Raises:
        InputRejected: It has no such form.
    """
    found = getattr(tokenizer, "backend_tokenizer", None)
    if found is None and hasattr(tokenizer, "to_str"):
        return tokenizer
    if found is None:
        raise InputRejected(model, "its tokenizer has no tokenizer.json to compare with that of the counts", "")
    return found
