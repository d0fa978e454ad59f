"""Page structure for terminal, HTML and JSON: tables, each with a paragraph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heedful.reporting.drawing import Drawn

Row = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PagePart:
    """One section of a page: title, table, paragraph and chart.

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
    """A page: title, subject (model and text) and sections.

    Attributes:
        title: What was measured.
        subject: The model and the text.
        parts: Top to bottom.
    """

    title: str
    subject: str
    parts: Sequence[PagePart]
