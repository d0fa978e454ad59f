"""Lines on a terminal, or on any stream: as wide as it is, in its encoding, coloured only where it wants colour."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import TextIO

from heedful.reporting.paragraph import Line, Sheet, plain, sheet

COLUMNS = 80
"""Columns where the stream is no terminal and ``COLUMNS`` is not set."""


def stream_sheet(stream: TextIO) -> Sheet:
    """The sheet that a stream offers: its width and its encoding."""
    return sheet(shutil.get_terminal_size((COLUMNS, 24)).columns, getattr(stream, "encoding", None) or "ascii")


def print_lines(lines: Iterable[Line], stream: TextIO) -> None:
    """Write lines to a stream, with colour only where the stream is a terminal that wants it."""
    if not wants_colour(stream):
        stream.write(plain(lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
    for one in lines:
        console.print(Text.assemble(*one), soft_wrap=True)


def wants_colour(stream: TextIO) -> bool:
    """Whether escapes may be written: a terminal, not a dumb one, and no ``NO_COLOR``."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()
