"""Locate a Hugging Face hub model in the cache, or download it, with safetensors weights only."""

from __future__ import annotations

import os
import re
from pathlib import Path

from heedful.errors import InputRejected, UsageError
from heedful.loading.wording import escaped

HUB_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
)
"""What is fetched: data alone, neither pickles nor Python files."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
_FILE_SUFFIX = re.compile(r"\.(?:pth?|bin|ckpt|safetensors|gguf|jsonl?|toml|ya?ml|py|tar|zip|npz?)$", re.IGNORECASE)
_TRUE = ("1", "true", "yes", "on")


def is_hub_name(name: str) -> bool:
    """Return whether a string could name a hub model, such as ``gpt2`` or ``owner/model``.

    Args:
        name: What the user wrote.

    Returns:
        True where it has that form, and no suffix of a file.
    """
    fits = _NAME.fullmatch(name) is not None and ".." not in name and "--" not in name
    return fits and _FILE_SUFFIX.search(name) is None


def hub_folder(name: str) -> Path:
    """Return a hub model's folder in the local cache, downloading it if necessary.

    Args:
        name: ``owner/model``, or an old name without owner.

    Returns:
        The folder of its files.

    Raises:
        UsageError: It has not the form of a hub name.
        InputRejected: It is not in the cache and cannot be fetched.
    """
    shown = escaped(name)
    if not is_hub_name(name):
        raise UsageError(f"{shown}: expected a folder, a checkpoint or a hub name, found none (check the path)")
    from huggingface_hub import snapshot_download

    offline = _says_yes("HF_HUB_OFFLINE") or _says_yes("TRANSFORMERS_OFFLINE")
    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES), local_files_only=offline))
    except Exception as error:  # the hub's client raises its own errors, its transport's, and OSError
        why = "not in the cache, and offline" if offline else f"not in the cache, not fetched: {type(error).__name__}"
        fix = "check the name, fetch it while online, or name a local folder"
        raise InputRejected(shown, f"no local folder, and as a hub name {why}", fix) from error


def _says_yes(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in _TRUE
