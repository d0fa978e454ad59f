"""List what differs between two reports besides results: models, texts, settings, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedful.evaluation.result import Report

_PARTS = ("model", "data", "settings", "versions")
_UNTOLD = frozenset({"notes", "document_fingerprints"})


def context_of(before: Report, after: Report) -> list[tuple[str, str, str]]:
    """Return (name, before, after) for each fact that differs; ``-`` means the report lacks it."""
    found = []
    for part in _PARTS:
        ours, theirs = (_flat(getattr(report, part)) for report in (before, after))
        for name in dict.fromkeys([*ours, *theirs]):
            first, second = ours.get(name, "-"), theirs.get(name, "-")
            if first != second:
                found.append((f"{part}: {name.replace('_', ' ')}", first, second))
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if name in _UNTOLD:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _word(value, name)
    return flat


def _word(value: Any, name: str) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)[:12] if name == "fingerprint" else str(value)
