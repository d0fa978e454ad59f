"""Records of the report on key vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from heedful.reporting.shown_record import ShownRecord, counted

NAMES = (
    "key_norm_evolution",
    "outlier_magnitude",
    "latent_redundancy",
    "key_magnitude_profile",
    "entropy_and_spread",
)
"""File names of the figures, in the order of the page."""


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """One figure with its paragraph.

    Attributes:
        name: One of ``NAMES``.
        title: What it shows, in a few words.
        paragraph: What the numbers show and what they do not show.
        rows: Plain rows that are drawn: panel, group, step, value and bounds; layers, or heads. Without any there is
            nothing to draw, and the paragraph says why.
        reference: Values at which a dashed line is drawn, the square roots of the head dimensions.
    """

    name: str
    title: str
    paragraph: str
    rows: tuple[Mapping[str, Any], ...]
    reference: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class KeyReport(ShownRecord):
    """Report on the key vectors of a run: five figures, each with a paragraph.

    Attributes:
        subject: The run as it was named.
        measured: What was measured: steps, layers, heads.
        present: What this model and this measurement have of what the figures could show, and what not.
        figures: The figures, in the order of ``NAMES``.
        limits: What none of the figures can show.
    """

    html_by: ClassVar[str] = "heedful.monitoring.page.page:key_html"
    json_by: ClassVar[str] = "heedful.monitoring.page.document:key_json"

    subject: str
    measured: str
    figures: tuple[KeyFigure, ...]
    limits: str
    present: tuple[str, ...] = ()

    @property
    def drawn(self) -> tuple[KeyFigure, ...]:
        """Figures that have data to draw."""
        return tuple(figure for figure in self.figures if figure.rows)

    def one_line(self) -> str:
        """Return one line with the run and its figures."""
        return f"{self.subject}: {counted(len(self.drawn), 'figure')}"
