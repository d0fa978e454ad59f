"""Make untrusted text visible: tokens, module names, paths and config values are only data.

A terminal obeys ESC and C1 bytes, a bidi override reorders what is read, a zero-width character hides in a name.
Each of them is shown here as the escape that Python would write for it, so that nothing is lost and nothing acts.
"""

from __future__ import annotations

import unicodedata

LONGEST = 2000
"""Characters of one value that are shown; the rest is counted."""

_ACTING = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_PLAIN = {
    "\u00b1": "+-",
    "\u00b7": ".",
    "\u00d7": "x",
    "\u2013": "-",
    "\u2014": "-",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2026": "...",
    "\u2192": "->",
    "\u2212": "-",
    "\u2248": "~",
    "\u2260": "!=",
    "\u2264": "<=",
    "\u2265": ">=",
}


def visible(text: object, encoding: str = "utf-8") -> str:
    r"""Return the text on one line, with control characters made visible and lone surrogates escaped.

    Control characters, format characters (bidi, zero-width, tags), line and paragraph separators, surrogates, private
    and unassigned code points, invisible fillers and all blanks but the space are written as ``\x1b`` or ``\u202e``.
    What the encoding lacks is written plainly where a plain form exists (``>=``), else as an escape.

    Pitfall: a backslash stays one backslash, so an escaped ESC and the four characters ``\x1b`` look alike.

    Args:
        text: Any value; its ``str`` is shown.
        encoding: The encoding of the stream that will carry the text.

    Returns:
        The text, at most ``LONGEST`` of its characters, without line breaks.
    """
    whole = str(text)
    shown = "".join(_visible_character(character) for character in whole[:LONGEST])
    if len(whole) > LONGEST:
        shown += f" [and {len(whole) - LONGEST} more characters]"
    return encodable(shown, encoding)


def encoded(text: str) -> str:
    r"""Return the text with each lone surrogate escaped (``\udc80``), because UTF-8 cannot encode surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def encodable(text: str, encoding: str) -> str:
    """Return the text with an ASCII replacement for every character that ``encoding`` lacks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_encodable_character(character, encoding) for character in text)
    except LookupError:
        return encodable(text, "ascii")
    return text


def _visible_character(character: str) -> str:
    if " " <= character <= "~":
        return character
    category = unicodedata.category(character)
    if category in _ACTING or category == "Zs" or character in _BLANK:
        return _escaped(character)
    return character


def _encodable_character(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN.get(character) or _escaped(character)
    return character


def _escaped(character: str) -> str:
    code = ord(character)
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return known or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
