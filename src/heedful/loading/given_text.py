"""Convert text and tokenizers, in any accepted form, to documents and transformers tokenizers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import InputRejected, UsageError
from heedful.loading.wording import escaped

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from heedful.loading.documents import Documents

    GivenText = str | Path | Documents | Iterable[str | Path]
    """Text itself, a text file, several of either, or documents that were read already."""

    GivenTokenizer = str | Path | Tokenizer | PreTrainedTokenizerBase
    """A tokenizer of transformers or of tokenizers, or where its files are."""

ENDINGS = (".txt", ".text", ".md", ".jsonl", ".ndjson")
"""Endings by which a string is the path of a text file and not text."""

EXPECTED = "expected strings, a list of strings, or paths of text files"


def documents_of(text: GivenText | None, origin: str = "text that was given") -> Documents:
    """Convert strings or files to documents.

    A ``Path`` is a file. A string is a file where it is one line that ends in .txt, .text, .md, .jsonl or .ndjson, and
    text itself otherwise; one that names another file that is there is refused, for it could mean both.

    Args:
        text: The text; None for the held-out text of the embedded model.
        origin: What to call strings.

    Returns:
        The documents; each string is one.

    Raises:
        UsageError: Neither strings nor paths came, both came mixed, or a file is missing.
        InputRejected: A file is no plain text, or all of it is blank.

    Example:
        >>> documents_of(["In the beginning", "And the earth"]).names
        ('text 1', 'text 2')
    """
    from heedful.loading.documents import load_documents

    if text is None:
        return load_documents(None)
    if _read_already(text):
        return text  # type: ignore[return-value]
    given = _listed(text)
    if not given:
        return load_documents([])
    are_files = [is_text_file(one) for one in given]
    if all(are_files):
        return load_documents([Path(one) for one in given])
    if any(are_files):
        at = are_files.index(True)
        raise UsageError(
            f"text: expected either strings or paths, got both: {escaped(given[at])} is a path (read it first)"
        )
    return _of_strings([str(one) for one in given], origin)


def is_text(given: object) -> bool:
    """Return whether an argument is text or names text: strings, paths or documents, one or several."""
    if isinstance(given, str | os.PathLike) or _read_already(given):
        return True
    return isinstance(given, list | tuple) and bool(given) and all(isinstance(one, str | os.PathLike) for one in given)


def tokenizer_of(tokenizer: GivenTokenizer | None) -> PreTrainedTokenizerBase | None:
    """Convert a tokenizer to transformers' class.

    Args:
        tokenizer: One of transformers or of tokenizers, or its folder, file or hub name; None for none.

    Raises:
        UsageError: It is none of these, or a path is missing.
        InputRejected: A file of it is malformed, or the folder holds none.
    """
    if tokenizer is None:
        return None
    if isinstance(tokenizer, str | os.PathLike):
        from heedful.loading.loaded_model import tokenizer_place
        from heedful.loading.tokenizer_files import FILES, load_tokenizer

        place = tokenizer_place(tokenizer)  # type: ignore[arg-type]
        found, _ = load_tokenizer(place)
        if found is None:
            raise InputRejected(escaped(place), f"no {FILES} was found", "name the folder of a tokenizer")
        return found
    if is_tokenizer(tokenizer):
        return _wrapped(tokenizer) if _is_bare(tokenizer) else tokenizer  # type: ignore[return-value]
    raise UsageError(
        f"tokenizer: expected one of transformers or tokenizers, or its path; got {type(tokenizer).__name__}"
    )


def is_tokenizer(given: object) -> bool:
    """Return whether an object is a tokenizer of transformers or tokenizers."""
    return _is_bare(given) or (callable(given) and hasattr(given, "decode") and hasattr(given, "all_special_ids"))


def _is_bare(given: object) -> bool:
    return hasattr(given, "token_to_id") and hasattr(given, "encode_batch") and not hasattr(given, "all_special_ids")


def _wrapped(tokenizer: Any) -> Any:
    """A tokenizer of tokenizers as transformers has it, read the way one is read from a file."""
    from tempfile import TemporaryDirectory

    from heedful.loading.tokenizer_files import load_tokenizer

    with TemporaryDirectory(prefix="heedful-") as folder:
        place = Path(folder) / "tokenizer.json"
        place.write_text(tokenizer.to_str(), encoding="utf-8")
        return load_tokenizer(place)[0]


def _read_already(text: object) -> bool:
    return hasattr(text, "texts") and hasattr(text, "origin")


def _listed(text: Any) -> list[Any]:
    if isinstance(text, str | os.PathLike):
        return [text]
    if isinstance(text, bytes) or not isinstance(text, Iterable):
        raise UsageError(f"text: {EXPECTED}; got {type(text).__name__}")
    given = list(text)
    wrong = [one for one in given if not isinstance(one, str | os.PathLike)]
    if wrong:
        raise UsageError(f"text: {EXPECTED}; got a {type(text).__name__} with {type(wrong[0]).__name__}")
    return given


def is_text_file(given: object) -> bool:
    """Return whether a single text argument names a file.

    Args:
        given: A path, or a string.

    Raises:
        UsageError: A string without the ending of a text file is the name of a file that is there.
    """
    if not isinstance(given, str | os.PathLike):
        return False
    if not isinstance(given, str):
        return True
    word = given.strip()
    if not word or "\n" in given or "\0" in given or len(given) > 1024:
        return False
    if word.lower().endswith(ENDINGS) and (len(word.split()) == 1 or os.path.exists(word)):
        return True
    if len(word.split()) == 1 and os.path.exists(word):
        raise UsageError(f"text: {escaped(word)}: is a file that is there (give pathlib.Path({escaped(word)!r}))")
    return False


def _of_strings(texts: Sequence[str], origin: str) -> Documents:
    from heedful.loading.documents import Documents

    kept = [(place, text) for place, text in enumerate(texts, 1) if text.strip("\0").strip()]
    if not kept:
        raise InputRejected(origin, "expected text, found nothing but blanks", "give strings that hold text")
    blank = len(texts) - len(kept)
    notes = [f"{blank} blank document{'' if blank == 1 else 's'} left out"] if blank else []
    if copies := len(kept) - len({text for _, text in kept}):
        notes.append(f"{copies} documents are exact copies of others")
    return Documents(
        names=tuple(f"text {place}" for place, _ in kept),
        texts=tuple(text.replace("\r\n", "\n").replace("\r", "\n") for _, text in kept),
        origin=origin,
        notes=tuple(notes),
    )
