"""Description of a figure: name, caption, and the function that builds its chart from a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import altair

BLUE, ORANGE = "#2f74c0", "#c4661f"
"""Two colours that can be told apart with any colour vision, and stand out from white and from near black."""

SEQUENTIAL = ("#e9f1f8", "#bcd6ea", "#82b3d8", "#4a8bc2", "#2566a3", "#12457c", "#082a52")
DIVERGING = ("#1b5e9e", "#7fb0d8", "#f2f2f0", "#e6a36b", "#a94a12")

WIDTH, HEIGHT = 420, 250

Row = Mapping[str, Any]
Source = TypeVar("Source")
"""What a figure is drawn of: a report, say."""


@dataclass(frozen=True, kw_only=True)
class Figure(Generic[Source]):
    """Description of one figure: name, caption, and the function that builds its chart.

    Attributes:
        name: Its file name without the suffix.
        title: What it shows, in a few words.
        caption: How to read it.
        chart: From what it is drawn of to a chart; None where there is nothing to show.
        wide: Whether it needs the width of two.
    """

    name: str
    title: str
    caption: str
    chart: Callable[[Source], altair.TopLevelMixin | None]
    wide: bool = False


def chart_of(rows: Sequence[Row]) -> altair.Chart:
    """Return an Altair chart of plain rows."""
    import altair

    return altair.Chart(altair.Data(values=list(rows)))


def layer_axis(layers: int) -> altair.X:
    """Return the x axis for layers, with whole-number ticks."""
    import altair

    ticks = list(range(0, layers, max(1, -(-layers // 12))))
    scale = altair.Scale(domain=[-0.5, layers - 0.5], nice=False, zero=False)
    axis = altair.Axis(values=ticks, format="d", grid=False)
    return altair.X("layer:Q", title="layer", scale=scale, axis=axis)
