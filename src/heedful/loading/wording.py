"""Format untrusted names and errors for one-line messages, with control characters escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_NAME = 200
"""Characters of one foreign name that a message shows."""

LONGEST_LIST = 10
"""Names that one message lists; the rest is counted."""

_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
ADVICE = re.compile(r"weights_only|trust_remote_code|arbitrary code|allowlist|safe_globals", re.IGNORECASE)
"""Lines of other libraries that advise to trust a file."""


def escaped(text: object, limit: int = LONGEST_NAME) -> str:
    r"""Return one printable line in which control, bidi and separator characters are written as ``\x1b`` or ``\u202e``.

    Args:
        text: Any value; its ``str`` is shown.
        limit: Characters after which the text is cut.

    Returns:
        The text, at most ``limit`` characters of it.
    """
    whole = str(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole[:limit])
    return shown + ("..." if len(whole) > limit else "")


def listed(names: Iterable[object], longest: int = LONGEST_LIST) -> str:
    """List at most ``longest`` escaped names, and the number of the rest.

    Args:
        names: What to list; sorted as text.
        longest: Names shown.

    Returns:
        ``a, b and 3 more``.
    """
    ordered = sorted(str(name) for name in names)
    shown = ", ".join(escaped(name, 80) for name in ordered[:longest])
    return shown + (f" and {len(ordered) - longest} more" if len(ordered) > longest else "")


def reason(error: BaseException, limit: int = LONGEST_NAME) -> str:
    """Return the first informative line of another library's error, without terminal codes or advice to trust the file.

    Args:
        error: What the library raised.
        limit: Characters after which the line is cut.

    Returns:
        The line, or the error's type where every line gives advice that is not ours.
    """
    lines = _TERMINAL_CODE.sub("", str(error)).splitlines()
    telling = [line.strip() for line in lines if line.strip() and not ADVICE.search(line)]
    return escaped(telling[0], limit) if telling else type(error).__name__
