"""Fingerprint of a tokenizer: equal fingerprints mean equal tokens for the same text."""

from __future__ import annotations

import hashlib
import json

DECIDES = ("normalizer", "pre_tokenizer", "model", "added_tokens")
"""Parts of a ``tokenizer.json`` that decide about tokens. Truncation, padding, what is set around a text and how tokens
become text again do not."""


def fingerprint(tokenizer: str) -> str:
    """Return the SHA-256 of everything that affects a tokenizer's tokens.

    Args:
        tokenizer: The content of its ``tokenizer.json``.

    Returns:
        The digest, hexadecimal; the order of keys and the layout of the file are no part of it.
    """
    tree = json.loads(tokenizer)
    parts = {name: tree.get(name) for name in DECIDES}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
