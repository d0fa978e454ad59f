"""Convert a value to strict JSON types: NaN and infinities become null, floats have nine significant digits, lone
surrogates are escaped, keys are sorted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

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
