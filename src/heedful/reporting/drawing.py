"""Render charts as SVG and PNG, in one style that adapts to light and dark themes and loads no files.

Save figures as SVG and PNG; either all are written or none.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.reporting.escape import visible
from heedful.reporting.figure import Figure, Source
from heedful.reporting.write import check_target, write_atomic

if TYPE_CHECKING:
    import altair


FONT = "system-ui, sans-serif"
INK, PAPER = "#1c2128", "#ffffff"
LIGHT_INK = "#dfe5ec"
PIXELS_PER_UNIT = 2.0
SUBJECT_COLUMNS, SUBJECT_LINES = 72, 3

_FOLLOWS = (
    f"<style>svg{{color:{INK}}}@media(prefers-color-scheme:dark){{svg{{color:{LIGHT_INK}}}}}</style>"
    '<g fill="none" stroke-miterlimit="10"'
)
_OWN_NAME = re.compile(r"\b(?:gradient_|clip)\d+\b")
_FIRST_GROUP = '<g fill="none" stroke-miterlimit="10"'


@dataclass(frozen=True)
class Drawn:
    """A figure's description with its chart."""

    figure: Figure[Any]
    chart: altair.TopLevelMixin


def drawn(source: Source, figures: Sequence[Figure[Source]]) -> list[Drawn]:
    """Build the chart of each figure, and skip figures without data.

    Args:
        source: What they are drawn of: a report, say.
        figures: Figures to draw.

    Returns:
        Figures and charts, in order.
    """
    charts = [(figure, figure.chart(source)) for figure in figures]
    return [Drawn(figure, chart) for figure, chart in charts if chart is not None]


def svg(one: Drawn, *, ink: str = INK, background: str = PAPER, subject: str = "") -> str:
    """Return the figure as SVG text.

    Args:
        one: The figure.
        ink: Colour of text and rules; ``currentColor`` follows the reader's light or dark theme.
        background: Colour of the ground, or ``transparent``.
        subject: Model and text, below the figure's title; without it the figure has no title of its own.
    """
    import vl_convert

    text = _renumbered(str(vl_convert.vegalite_to_svg(_specification(one, ink, background, subject))))
    return text.replace(_FIRST_GROUP, _FOLLOWS, 1) if ink == "currentColor" else text


def png(one: Drawn, *, subject: str = "") -> bytes:
    """Return the figure as PNG bytes, dark on white, at double resolution; ``subject`` as for ``svg``."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(_specification(one, INK, PAPER, subject), scale=PIXELS_PER_UNIT))


def _renumbered(text: str) -> str:
    """The same SVG with its own names counted from 0: the program that draws counts on from figure to figure."""
    names = list(dict.fromkeys(_OWN_NAME.findall(text)))
    return _OWN_NAME.sub(lambda found: f"own{names.index(found[0])}", text)


def _specification(one: Drawn, ink: str, background: str, subject: str = "") -> dict[str, Any]:
    """The chart in Vega-Lite's own words, in the look of all figures."""
    text = {"labelColor": ink, "titleColor": ink, "labelFont": FONT, "titleFont": FONT, "titleFontWeight": "normal"}
    rules = {"domainColor": ink, "domainOpacity": 0.4, "tickColor": ink, "tickOpacity": 0.4, "labelFontSize": 11}
    look = {
        "background": background,
        "padding": {"left": 5, "top": 5, "right": 18, "bottom": 5},  # a reader's font may be wider than ours
        "font": FONT,
        "view": {"stroke": None},
        "mark": {"aria": False},
        "text": {"color": ink, "font": FONT, "fontSize": 11},
        "axis": {**text, **rules, "gridColor": ink, "gridOpacity": 0.12, "titleFontSize": 12, "titlePadding": 8},
        "legend": {
            **text,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "symbolStrokeWidth": 2,
            "columnPadding": 26,
            "gradientLength": 130,
        },
        "header": {"labelColor": ink, "labelFont": FONT, "labelFontSize": 12, "titleColor": ink, "titleFont": FONT},
    }
    specification: dict[str, Any] = one.chart.to_dict()
    if subject:
        specification["title"] = _title(one.figure.title, subject, ink)
    given = specification.get("config", {})
    specification["config"] = look | {"view": {**given.get("view", {}), "stroke": None}}
    return _inked(specification, ink)


def _title(title: str, subject: str, ink: str) -> dict[str, Any]:
    """A title with model and text below it, in lines that fit a narrow figure."""
    lines = textwrap.wrap(visible(subject), SUBJECT_COLUMNS, max_lines=SUBJECT_LINES, placeholder=" ...")
    fonts = {"font": FONT, "subtitleFont": FONT, "fontSize": 14, "subtitleFontSize": 11}
    look = {"color": ink, "subtitleColor": ink, "anchor": "start", "frame": "group", "offset": 10, "subtitlePadding": 4}
    return {"text": title, "subtitle": lines, **fonts, **look}


def _inked(value: Any, ink: str) -> Any:
    """A specification with the word ``ink`` in the place of a colour made that colour."""
    if isinstance(value, dict):
        return {name: _inked(part, ink) for name, part in value.items()}
    if isinstance(value, list):
        return [_inked(part, ink) for part in value]
    return ink if value == "ink" else value


if TYPE_CHECKING:
    pass

FORMATS: dict[str, Callable[..., str | bytes]] = {".svg": svg, ".png": png}


def check_figures(folder: str | os.PathLike[str], *, overwrite: bool, names: Sequence[str]) -> None:
    """Raise an error before any work if the figures cannot be written to ``folder``.

    Args:
        folder: Where figures shall be written: a folder, or nothing yet.
        overwrite: Whether figures that stand there may be replaced.
        names: Names of the figures.

    Raises:
        OutputError: The folder is none, or a figure stands there and must not be replaced.
    """
    place = Path(folder)
    if not place.is_dir():
        check_target(place, overwrite=False)
        return
    for name in names:
        for suffix in FORMATS:
            check_target(place / f"{name}{suffix}", overwrite=overwrite)


def save_drawn(
    found: Iterable[Drawn], folder: str | os.PathLike[str], *, overwrite: bool, subject: str = ""
) -> list[Path]:
    """Save charts as SVG and PNG; all are rendered before the first is written.

    Args:
        found: The figures.
        folder: Where; it is made where it is not there.
        overwrite: Whether figures that stand there may be replaced.
        subject: Model and text: it stands with the figure's title above each, since a file is read away from its page.

    Returns:
        The files, in order.

    Raises:
        OutputError: One could not be written; files that stand are whole, and no temporary file is left.
    """
    made = [
        (Path(folder) / f"{one.figure.name}{suffix}", write(one, subject=subject))
        for one in found
        for suffix, write in FORMATS.items()
    ]
    _make(Path(folder))
    for path, data in made:
        write_atomic(path, data, overwrite=overwrite)
    return [path for path, _ in made]


def _make(folder: Path) -> None:
    from heedful.errors import OutputError

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror} (choose another path)") from None
