"""Load a tokenizer from files as data; Python classes that come with a model are ignored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from heedful.errors import InputRejected, UsageError
from heedful.loading.quiet import quiet_transformers
from heedful.loading.regular_file import kind_of, read_small
from heedful.loading.strict_json import read_json
from heedful.loading.tokenizer_limits import bounds_for, check_tokenizer, rehearse, tried
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
