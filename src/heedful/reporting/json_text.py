"""Encode strict JSON as ASCII, with ``<``, ``>`` and ``&`` escaped so that it is safe in HTML and terminals."""

from __future__ import annotations

import json
import re
from typing import Any

_ACTING = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\x7f": "\\u007f"}
_LISTS = re.compile(r'("(?:units|document_fingerprints)": \[)\s+([^\[\]{}]*?)\s+\]')
"""Long lists of plain values, which stand on one line each; no string can hold a bare quote or a line break."""


def document_text(document: Any) -> str:
    """Encode a JSON-compatible value as ASCII text that is safe in HTML."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=True, indent=2)
    text = _LISTS.sub(lambda found: found[1] + " ".join(found[2].split()) + "]", text)
    for acting, escaped in _ACTING.items():
        text = text.replace(acting, escaped)
    return text + "\n"
