"""The symbol and style of each verdict. The verdict's word is always shown too, so colour carries no information."""

from __future__ import annotations

_MARKS = {
    "PASS": ("\u2713", "+"),
    "FAIL": ("\u2717", "x"),
    "ERROR": ("\u2717", "x"),
    "WARN": ("!", "!"),
    "ABSENT": ("\u25cb", "o"),
    "INFO": ("\u00b7", "."),
    "INSUFFICIENT DATA": ("?", "?"),
    "UNDEFINED": ("?", "?"),
    "SKIP": ("-", "-"),
}
_STYLES = {
    "PASS": "green",
    "FAIL": "bold red",
    "ERROR": "bold red",
    "WARN": "yellow",
    "INSUFFICIENT DATA": "yellow",
    "ABSENT": "cyan",
    "INFO": "cyan",
    "SHARP": "green",
    "SELECTIVE": "green",
    "WEAK": "yellow",
    "DIFFUSE": "red",
}
VERDICTS = tuple(_MARKS)
"""Every verdict a finding can have, in the order in which they are counted."""

_DRAWN = "".join(drawn for drawn, _ in _MARKS.values()) + "\u2026"


def draws(encoding: str) -> bool:
    """Return whether ``encoding`` can represent the symbols of all verdicts."""
    try:
        _DRAWN.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def mark(verdict: str, encoding: str) -> str:
    """Return the symbol of a verdict, or its ASCII form if the encoding lacks it."""
    drawn, ascii_form = _MARKS.get(verdict, ("\u00b7", "."))
    return drawn if draws(encoding) else ascii_form


def ellipsis(encoding: str) -> str:
    """Return an ellipsis character, or three dots if the encoding lacks it."""
    return "\u2026" if draws(encoding) else "..."


def style(verdict: str) -> str:
    """Return the terminal style of a verdict's symbol and word; empty for an unknown verdict."""
    return _STYLES.get(verdict, "")
