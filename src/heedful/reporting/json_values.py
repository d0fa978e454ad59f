"""Convert a value to strict JSON types: NaN and infinities become null, floats have nine significant digits, lone
surrogates are escaped, keys are sorted.

Encode strict JSON as ASCII, with ``<``, ``>`` and ``&`` escaped so that it is safe in HTML and terminals.

Registry of readers for stored JSON documents; each feature registers its own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TextIO

from heedful.plugins import Registry
from heedful.reporting.escape import encoded

DIGITS = 9
"""Significant digits of a float: below the last bits that differ with the order of a sum, above what anyone reads."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def json_value(value: Any, path: str, lost: list[str]) -> Any:
    """Return the value in JSON-compatible types.

    Args:
        value: None, a number, a string, a mapping, a sequence, a set, a path, or an array with ``tolist``.
        path: JSON path of the value, ``$.summary.tests`` say.
        lost: Receives the path of every number that is not finite and became null.

    Returns:
        None, bool, int, float, str, list or dict; floats rounded to ``DIGITS`` significant digits, keys sorted.

    Raises:
        TypeError: The value has no JSON form.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return encoded(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _rounded(value, path, lost)
    if isinstance(value, Mapping):
        keys = sorted(value, key=str)
        return {encoded(str(key)): json_value(value[key], step(path, key), lost) for key in keys}
    if isinstance(value, AbstractSet):
        return json_value(sorted(value, key=str), path, lost)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [json_value(one, f"{path}[{index}]", lost) for index, one in enumerate(value)]
    return _foreign(value, path, lost)


def step(path: str, key: object) -> str:
    """Return the JSON path of one entry of a mapping."""
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(str(key)) else f"{path}[{str(key)!r}]"


def _rounded(value: float, path: str, lost: list[str]) -> float | None:
    if not math.isfinite(value):
        lost.append(path)
        return None
    return float(f"{value:.{DIGITS}g}") + 0.0  # + 0.0: one zero, not two


def _foreign(value: Any, path: str, lost: list[str]) -> Any:
    if hasattr(value, "tolist"):
        return json_value(value.tolist(), path, lost)
    if hasattr(value, "__fspath__"):
        return encoded(str(value))
    raise TypeError(f"{path}: expected a number, a text, a list or a mapping, got {type(value).__name__}")


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


@dataclass(frozen=True)
class RecordReader:
    """Functions that read and show stored documents of one schema family.

    Attributes:
        read: From its bytes and the name of its file to the record. It raises InputRejected for anything else.
        show: Writes the record's terminal page to a stream; None stands for standard output.
    """

    read: Callable[..., Any]
    show: Callable[[Any, TextIO | None], None]


RECORDS: Registry[RecordReader] = Registry("records", "record reader")
"""Family of documents, the part of their ``schema`` before the slash (``heedful.report``), to its reader."""
