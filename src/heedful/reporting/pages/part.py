"""A page: tables with a paragraph each, the same in terminal, HTML and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heedful.reporting.drawing import Drawn

Row = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PagePart:
    """One part of a page.

    Attributes:
        title: What it is about.
        text: A paragraph below the table.
        header: Names of the columns; empty where there is no table.
        rows: Cells, as many as there are columns; the first one is a name, the others are numbers.
        chart: Draws the part's figure, for media that can show one; None where it has none.
    """

    title: str
    text: str
    header: Row = ()
    rows: Sequence[Row] = ()
    chart: Callable[[], Drawn] | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole page.

    Attributes:
        title: What was measured.
        subject: The model and the text.
        parts: Top to bottom.
        refresh: Seconds after which a browser loads the page again; None for never.
    """

    title: str
    subject: str
    parts: Sequence[PagePart]
    refresh: int | None = None
