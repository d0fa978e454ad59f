"""Styled terminal lines, wrapped by display width in terminal cells.

Print styled lines to a stream, in its width and encoding, with colour only if supported.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

from heedful.reporting.escape import visible

Segment = tuple[str, str]
Line = tuple[Segment, ...]

BLANK: Line = ()
MEASURE = 70
"""Widest line of a page: the rule of the report, and about as much as an eye follows."""
NARROWEST = 40


@dataclass(frozen=True)
class Sheet:
    """Width and encoding of the terminal or stream that a page is written to.

    Attributes:
        width: Cells a line may fill.
        encoding: Encoding of the stream.
    """

    width: int = MEASURE
    encoding: str = "utf-8"

    def text(self, value: object) -> str:
        """Return the value as visible text in this encoding."""
        return visible(value, self.encoding)


def sheet(columns: int, encoding: str) -> Sheet:
    """Return a sheet for a terminal with this many columns."""
    return Sheet(max(NARROWEST, min(MEASURE, columns)), encoding)


def cells(text: str) -> int:
    """Return the display width of a text in terminal cells: 2 for wide characters, 0 for combining ones."""
    from rich.cells import cell_len

    return cell_len(text)


def line(text: str, style: str = "") -> Line:
    """Return a line with a single styled segment."""
    return ((text, style),)


def plain(lines: Iterable[Line]) -> str:
    """Return the lines as unstyled text, each ended by a newline."""
    return "".join("".join(text for text, _ in one).rstrip() + "\n" for one in lines)


def fold(text: str, width: int) -> list[str]:
    """Wrap a text at spaces into lines of at most ``width`` cells; longer words are cut."""
    return flow(text.split(), " ", width)


def flow(pieces: Iterable[str], separator: str, width: int) -> list[str]:
    """Join pieces with ``separator`` into lines, breaking only between pieces unless one is too long."""
    lines: list[str] = []
    for piece in (part for whole in pieces for part in _cut(whole, width)):
        if lines and cells(lines[-1]) + cells(separator) + cells(piece) <= width:
            lines[-1] += separator + piece
        else:
            lines.append(piece)
    return lines


def listed(pieces: Iterable[str], width: int) -> list[str]:
    """Join pieces with commas into lines, breaking only after a comma unless a piece is too long."""
    known = list(pieces)
    return flow([f"{piece}," for piece in known[:-1]] + known[-1:], " ", width)


def paragraph(text: str, width: int, *, indent: str = "", first: str = "", style: str = "") -> list[Line]:
    """Return a wrapped, indented text as lines; the first line may have a different indent.

    Args:
        text: The text; it must already be visible.
        width: Cells of the widest line, indent included.
        indent: What every line begins with.
        first: What the first line begins with in place of ``indent``, where given.
        style: Style of the text.

    Returns:
        One line or more; none for an empty text.
    """
    folded = fold(text, max(width - max(cells(indent), cells(first)), 8))
    return [((first or indent if index == 0 else indent, ""), (part, style)) for index, part in enumerate(folded)]


def clip(text: str, width: int, ellipsis: str) -> str:
    """Shorten the text to ``width`` cells, ending in an ellipsis if it was longer."""
    from rich.cells import set_cell_size

    return text if cells(text) <= width else set_cell_size(text, width - cells(ellipsis)).rstrip() + ellipsis


def aligned(text: str, width: int, *, right: bool = False) -> str:
    """Pad the text with spaces to ``width`` cells."""
    space = " " * max(width - cells(text), 0)
    return space + text if right else text + space


def _cut(piece: str, width: int) -> list[str]:
    from rich.cells import chop_cells

    return [piece] if cells(piece) <= width else fold(piece, width) if " " in piece else chop_cells(piece, width)


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
