"""Print styled lines to a stream, in its width and encoding, with colour only if supported."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import TextIO

from heedful.reporting.paragraph import Line, Sheet, plain, sheet

COLUMNS = 80
"""Columns where the stream is no terminal and ``COLUMNS`` is not set."""


def stream_sheet(stream: TextIO) -> Sheet:
    """Return a sheet with the width and encoding of a stream."""
    return sheet(shutil.get_terminal_size((COLUMNS, 24)).columns, getattr(stream, "encoding", None) or "ascii")


def print_lines(lines: Iterable[Line], stream: TextIO) -> None:
    """Print lines to a stream, in colour if the stream is a terminal that supports it."""
    if not wants_colour(stream):
        stream.write(plain(lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
    for one in lines:
        console.print(Text.assemble(*one), soft_wrap=True)


def wants_colour(stream: TextIO) -> bool:
    """Return whether to use colour: the stream is a capable terminal and ``NO_COLOR`` is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()
