"""Load a tokenizer from files as data; Python classes that come with a model are ignored.

Check a tokenizer.json for excessive sizes, and try the tokenizer in a child process before use.

A tokenizer is data that acts like a program: its patterns can take exponential time, its replacements can double a
text again and again, its tables can point outside themselves, which ends the library in a panic. Bounds are looked at
first, without the library. Then a child with limits loads it, encodes and decodes. Whatever it does with a text of the
user's is done in such a child too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from heedful.errors import InputRejected, UsageError
from heedful.loading.bounded import MIB, Bounds, bounded
from heedful.loading.quiet import quiet_transformers
from heedful.loading.regular_file import kind_of, read_json, read_small
from heedful.loading.wording import escaped, listed, reason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


TOKENIZER_BYTES = 128 << 20
"""Size of a tokenizer.json; the largest that are published have about 35 MB."""

_SETTINGS_BYTES = 16 << 20
_WHOLE = "tokenizer.json"
_SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")
_VOCABULARIES = (("vocab.txt", "BertTokenizer"), ("vocab.json", "GPT2Tokenizer"))
FILES = "tokenizer.json, vocab.txt or vocab.json"
"""What a tokenizer is read from, for messages."""

_USUAL = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
"""Words that can stand for nothing else, so that a bare ``tokenizer.json`` need not name them."""

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def load_tokenizer(place: Path) -> tuple[PreTrainedTokenizerBase | None, tuple[str, ...]]:
    """Load a tokenizer from a folder, a ``tokenizer.json`` or a bare vocabulary.

    Args:
        place: The folder or the file; settings are read from beside it.

    Returns:
        The tokenizer, None where the folder holds no file of one, and notes.

    Raises:
        InputRejected: A file of it is malformed.
    """
    folder = place if kind_of(place) == "a directory" else place.parent
    vocabularies = [pair for pair in _VOCABULARIES if folder is place or place.name == pair[0]]
    if folder is not place and place.suffix != ".json" and not vocabularies:
        raise UsageError(f"{escaped(place)}: expected {FILES}, or the folder of one")
    whole = folder / _WHOLE if folder is place else place
    settings = {key: value for name in _SETTINGS for key, value in _optional(folder / name).items()}
    if _present(whole) and (folder is place or not vocabularies):
        return _from_whole(whole, settings)
    for name, fallback in vocabularies:
        if _present(folder / name):
            return _from_vocabulary(folder, name, fallback, settings)
    return None, (f"no {FILES} found",)


def _from_whole(path: Path, settings: dict[str, Any]) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    from transformers import PreTrainedTokenizerFast  # noqa: F401 - before the fork: the child has few seconds

    content = read_small(path, TOKENIZER_BYTES, "a tokenizer")
    check_tokenizer(content, escaped(path))

    def made() -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
        with _refusing(path):
            return _opened(content.decode("utf-8"), settings)

    def rehearsed() -> bool:
        tokenizer, _ = made()
        with _refusing(path):
            return rehearse(tokenizer)

    tried(rehearsed, bounds_for(0, len(content)), escaped(path))
    return made()


def _opened(text: str, settings: dict[str, Any]) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(text)
    backend.no_truncation()
    backend.no_padding()
    usual = {role: word for role, word in _USUAL.items() if backend.token_to_id(word) is not None}
    roles = usual | {role: word for role in _ROLES if (word := _token_text(settings.get(role)))}
    unknown = sorted(text for text in roles.values() if backend.token_to_id(text) is None)
    known = {role: text for role, text in roles.items() if text not in unknown}
    extra = settings.get("additional_special_tokens") or settings.get("extra_special_tokens") or []
    more = [word for item in extra if (word := _token_text(item)) and backend.token_to_id(word) is not None]
    with quiet_transformers():
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend, **known, **({"additional_special_tokens": more} if more else {})
        )
    notes = (f"special tokens not in the vocabulary left out: {listed(unknown)}",) if unknown else ()
    return tokenizer, notes


def _from_vocabulary(
    folder: Path, name: str, fallback: str, settings: dict[str, Any]
) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """A tokenizer from a bare vocabulary, by the class of transformers that the settings name."""
    import transformers

    wanted = str(settings.get("tokenizer_class") or fallback).removesuffix("Fast")
    found = getattr(transformers, wanted, None) if wanted.isidentifier() and wanted.endswith("Tokenizer") else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedTokenizerBase)):
        found = getattr(transformers, fallback)
    roles: dict[str, Any] = {role: text for role in _ROLES if (text := _token_text(settings.get(role)))}
    message = f"tokenizer built from {name} as {found.__name__}"
    with _refusing(folder / name), quiet_transformers(), TemporaryDirectory(prefix="heedful-") as alone:
        for part in (name, "merges.txt", "added_tokens.json"):
            if _present(folder / part):
                (Path(alone) / part).write_bytes(read_small(folder / part, TOKENIZER_BYTES, "a vocabulary"))
        if isinstance(settings.get("do_lower_case"), bool):
            roles["do_lower_case"] = settings["do_lower_case"]
        elif name == "vocab.txt" and _holds_capitals((Path(alone) / name).read_text("utf-8")):
            roles["do_lower_case"] = False
            message += ", case kept: the vocabulary holds capitals"
        size = sum(file.stat().st_size for file in Path(alone).iterdir())

        def rehearsed() -> bool:
            with _refusing(folder / name):
                return rehearse(found.from_pretrained(alone, local_files_only=True, **roles))

        tried(rehearsed, bounds_for(0, size), escaped(folder / name))
        tokenizer = found.from_pretrained(alone, local_files_only=True, **roles)
    return tokenizer, (message,)


def _holds_capitals(vocabulary: str) -> bool:
    """Whether plain words of a vocabulary have capitals, which a tokenizer that lowers its text never meets."""
    return any(word != word.lower() for word in vocabulary.split() if not (word[0] == "[" and word[-1] == "]"))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what the tokenizers library raises, its panics too, into one line."""
    try:
        yield
    except (InputRejected, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of the Rust library is no Exception
        raise InputRejected(escaped(path), f"not a tokenizer: {reason(error)}", "save the tokenizer again") from error


def _present(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path, _SETTINGS_BYTES) if _present(path) else {}


def _token_text(value: Any) -> str | None:
    """The text of a special token, which files give as text or as a table with ``content``."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) and text else None


SPARSE_IDS = 1 << 20
"""Ids above four times the number of tokens that are let pass."""

LONGEST_TOKEN = 1 << 14
"""Characters of one token; published vocabularies hold runs of a few hundred blanks."""

LONGEST_WORD = 1 << 12
"""Characters of a pattern, a prefix, a replacement."""

LONGEST_TABLE = 8 << 20
"""Characters of a precompiled table of replacements; published ones have 320,000."""

MOST_PARTS, MOST_GROWTH, MOST_BYTE_LEVELS, MOST_PIECES = 256, 64, 4, 64

_MOST_VALUES = {b",": 8_000_000, b"[": 4_000_000, b"{": 1_000_000}
"""A vocabulary of 256,000 tokens and 500,000 merges has 1.5 million commas."""

_CHARACTERS_A_SECOND = 200_000
"""Of processor time; tokenizers read one to some millions."""

_TRIED = ("a", "A b, c. 1\n", "aaaaaaaa" * 8, "\u00e9\u4e2d \u0130\U0001f600\u0301", "    \n\n\t  ", "0123456789" * 4)
_FIX = "save the tokenizer again"
_SEVERAL = ("normalizers", "pretokenizers", "processors", "decoders")


def check_tokenizer(content: bytes, subject: str) -> None:
    """Raise an error if a ``tokenizer.json`` is malformed, or if its vocabulary or components exceed the size limits.

    Args:
        content: The file.
        subject: Its name in messages.

    Raises:
        InputRejected: It is not JSON, or goes beyond a bound.
    """
    for mark, most in _MOST_VALUES.items():
        if (found := content.count(mark)) > most:
            raise InputRejected(subject, f"not a tokenizer: {found:,} of {mark.decode()!r}, expected at most {most:,}")
    try:
        tree = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise InputRejected(subject, "not a tokenizer: nested too deep", _FIX) from error
    except ValueError as error:
        raise InputRejected(subject, f"not a tokenizer: {reason(error)}", _FIX) from error
    if not isinstance(tree, dict):
        raise InputRejected(subject, "not a tokenizer: expected a JSON object", _FIX)
    try:
        _check_vocabulary(tree)
        _check_parts(tree)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        message = "an entry of its vocabulary is empty" if isinstance(error, IndexError) else reason(error)
        raise InputRejected(subject, f"not a tokenizer: {message}", _FIX) from error


def bounds_for(characters: int, file_bytes: int = 0) -> Bounds:
    """Return the memory and time limits for encoding a text.

    Args:
        characters: Of the text.
        file_bytes: Of a tokenizer that is to be loaded too.

    Returns:
        Processor time and memory; a thousand bytes a character, which is ten times what encodings take.
    """
    memory = 256 * MIB + 1000 * characters + 24 * file_bytes
    return Bounds(seconds=5 + characters / _CHARACTERS_A_SECOND + 4 * file_bytes / MIB, memory=memory)


def tried(work: Callable[[], Any], bounds: Bounds, subject: str) -> Any:
    """Run tokenizer work in a child process with limits, because it might abort or never finish.

    Args:
        work: What to do; it returns what JSON can say.
        bounds: What it may take.
        subject: The tokenizer, or the text, in messages.

    Returns:
        What the work returned.

    Raises:
        InputRejected: It failed, or went beyond its limits.
    """
    return bounded(work, bounds, lambda why: InputRejected(subject, f"its tokenizer was stopped: {why}", _FIX))


def rehearse(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Encode and decode a few texts and a sample of tokens to test a tokenizer; return True, or raise an error. Run in
    a child process.
    """
    for text in _TRIED:
        ids = list(tokenizer(text)["input_ids"])
        bare = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        for each in (ids, bare, *([one] for one in bare)):
            tokenizer.decode(each)
            tokenizer.convert_ids_to_tokens(each)
        if len(ids) > 100 * (len(text) + 100):
            raise InputRejected("tokenizer", f"it makes {len(ids):,} tokens of {len(text)} characters", _FIX)
    known = sorted(tokenizer.get_vocab().values())
    for one in known[:: max(1, len(known) // 500)]:
        tokenizer.decode([one])
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number")


def _check_vocabulary(tree: dict[str, Any]) -> None:
    model = tree.get("model") or {}
    words = model.get("vocab") or {}
    added = tree.get("added_tokens") or []
    if isinstance(words, dict):
        tokens, ids = list(words), list(words.values())
    else:
        tokens, ids = [entry[0] for entry in words], []
    tokens += [entry["content"] for entry in added]
    ids += [entry["id"] for entry in added]
    most = 4 * len(tokens) + SPARSE_IDS
    if wrong := next((one for one in ids if type(one) is not int or not 0 <= one < most), None):
        raise ValueError(f"token id {escaped(wrong, 40)}, expected whole numbers below {most:,}")
    if wrong := next((one for one in tokens if not isinstance(one, str) or len(one) > LONGEST_TOKEN), None):
        message = f"of {len(wrong):,} characters" if isinstance(wrong, str) else f"of type {type(wrong).__name__}"
        raise ValueError(f"a token {message}, expected text of at most {LONGEST_TOKEN:,}")
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token"):
        _check_word(name, model.get(name))
    longest = model.get("max_input_chars_per_word")
    if isinstance(longest, int) and longest > LONGEST_TOKEN:
        raise ValueError(f"max_input_chars_per_word {escaped(longest, 40)}, expected at most {LONGEST_TOKEN:,}")


def _check_parts(tree: dict[str, Any]) -> None:
    """Lengths, numbers and growth of everything but the vocabulary."""
    count = byte_levels = 0
    growth = 1.0
    for place in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        for part in _parts(tree.get(place)):
            count += 1
            word = str(part.get("type"))
            byte_levels += word == "ByteLevel"
            for key, value in part.items():
                _check_part_value(word, key, value)
            if word == "Replace":
                growth *= _growth(part)
            if word == "TemplateProcessing":
                _check_template(part)
    if count > MOST_PARTS:
        raise ValueError(f"{count:,} parts, expected at most {MOST_PARTS}")
    if byte_levels > MOST_BYTE_LEVELS:
        raise ValueError(f"{byte_levels} parts map bytes to characters, each doubles a text; expected at most "
                         f"{MOST_BYTE_LEVELS}")  # fmt: skip
    if growth > MOST_GROWTH:
        raise ValueError(f"its replacements make a text {growth:.3g} times as long, expected at most {MOST_GROWTH}")


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """Each part of a place, sequences opened."""
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            for name in _SEVERAL:
                if isinstance(one.get(name), list):
                    waiting += one[name]
            if len(waiting) > MOST_PARTS:
                raise ValueError(f"more than {MOST_PARTS} parts")


def _check_part_value(word: str, key: str, value: Any) -> None:
    if key == "precompiled_charsmap":
        if isinstance(value, str) and len(value) > LONGEST_TABLE:
            raise ValueError(f"a table of replacements of {len(value):,} characters, at most {LONGEST_TABLE:,}")
    elif isinstance(value, str):
        _check_word(f"{key} of {escaped(word, 40)}", value)
    elif isinstance(value, dict) and key == "pattern":
        for each in value.values():
            _check_word(f"{key} of {escaped(word, 40)}", each)
    elif type(value) is int and word in ("Strip", "Fuse", "Split", "FixedLength") and value > LONGEST_TOKEN:
        raise ValueError(f"{key} of {escaped(word, 40)} is {escaped(value, 40)}, at most {LONGEST_TOKEN:,}")


def _check_word(name: str, value: Any) -> None:
    if isinstance(value, str) and len(value) > LONGEST_WORD:
        raise ValueError(f"{name} has {len(value):,} characters, expected at most {LONGEST_WORD:,}")


def _growth(part: dict[str, Any]) -> float:
    """How many times as long a text can become by one replacement."""
    pattern, put = part.get("pattern") or {}, part.get("content") or ""
    literal = pattern.get("String")
    if not isinstance(put, str) or not isinstance(literal, str | None):
        raise ValueError("a replacement that is no text")
    if literal == "":
        raise ValueError("a replacement of nothing by something")
    if literal is not None:
        return max(1.0, len(put) / len(literal))
    return max(1.0, float(len(put)))


def _check_template(part: dict[str, Any]) -> None:
    for name in ("single", "pair"):
        if len(part.get(name) or ()) > MOST_PIECES:
            raise ValueError(f"a template of {len(part[name]):,} pieces, expected at most {MOST_PIECES}")
    for entry in (part.get("special_tokens") or {}).values():
        if len(entry.get("ids") or ()) > MOST_PIECES:
            raise ValueError(f"a special token of {len(entry['ids']):,} ids, expected at most {MOST_PIECES}")
