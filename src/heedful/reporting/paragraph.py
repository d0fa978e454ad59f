"""Lines of a terminal page: styled segments, wrapped by the terminal cells they fill."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from heedful.reporting.escape import visible

Segment = tuple[str, str]
Line = tuple[Segment, ...]

BLANK: Line = ()
MEASURE = 70
"""Widest line of a page: the rule of the report, and about as much as an eye follows."""
NARROWEST = 40


@dataclass(frozen=True)
class Sheet:
    """The width and encoding that a page is written for.

    Attributes:
        width: Cells a line may fill.
        encoding: Encoding of the stream.
    """

    width: int = MEASURE
    encoding: str = "utf-8"

    def text(self, value: object) -> str:
        """The value as visible text in this encoding."""
        return visible(value, self.encoding)


def sheet(columns: int, encoding: str) -> Sheet:
    """A sheet for a terminal of this many columns."""
    return Sheet(max(NARROWEST, min(MEASURE, columns)), encoding)


def cells(text: str) -> int:
    """Terminal cells that a text fills; a wide character fills two, a combining one none."""
    from rich.cells import cell_len

    return cell_len(text)


def line(text: str, style: str = "") -> Line:
    """A line that consists of one segment."""
    return ((text, style),)


def plain(lines: Iterable[Line]) -> str:
    """The lines as text without style, each ended by a newline."""
    return "".join("".join(text for text, _ in one).rstrip() + "\n" for one in lines)


def fold(text: str, width: int) -> list[str]:
    """Break a text at spaces into lines of at most ``width`` cells; a longer word is cut."""
    return flow(text.split(), " ", width)


def flow(pieces: Iterable[str], separator: str, width: int) -> list[str]:
    """Set pieces next to each other, breaking only between them unless one is too long."""
    lines: list[str] = []
    for piece in (part for whole in pieces for part in _cut(whole, width)):
        if lines and cells(lines[-1]) + cells(separator) + cells(piece) <= width:
            lines[-1] += separator + piece
        else:
            lines.append(piece)
    return lines


def listed(pieces: Iterable[str], width: int) -> list[str]:
    """Pieces separated by commas, broken only after a comma unless one is too long."""
    known = list(pieces)
    return flow([f"{piece}," for piece in known[:-1]] + known[-1:], " ", width)


def paragraph(text: str, width: int, *, indent: str = "", first: str = "", style: str = "") -> list[Line]:
    """A wrapped, indented text; its first line may have another indent.

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
    """The text, cut to this many cells with an ellipsis if it is longer."""
    from rich.cells import set_cell_size

    return text if cells(text) <= width else set_cell_size(text, width - cells(ellipsis)).rstrip() + ellipsis


def aligned(text: str, width: int, *, right: bool = False) -> str:
    """The text, padded with spaces to this many cells."""
    space = " " * max(width - cells(text), 0)
    return space + text if right else text + space


def _cut(piece: str, width: int) -> list[str]:
    from rich.cells import chop_cells

    return [piece] if cells(piece) <= width else fold(piece, width) if " " in piece else chop_cells(piece, width)
