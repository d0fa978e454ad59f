"""Data of the page on a run: its curves, alarms, comparisons of heads and steps, and figures on key vectors."""

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
"""File names of the figures on key vectors, in the order of the page."""

CURVES = ("loss_and_gradient", "logits_and_entropy", "sinks")
"""File names of the curves of a run."""


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """One figure with its paragraph.

    Attributes:
        name: One of ``NAMES`` or ``CURVES``.
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


@dataclass(frozen=True, kw_only=True)
class KeyReport:
    """The figures on a run's key vectors, with what was measured and what the figures cannot show.

    Attributes:
        subject: The run as it was named.
        measured: What was measured: steps, layers, heads.
        present: What this model and this measurement have of what the figures could show, and what not.
        figures: The figures, in the order of ``NAMES``.
        limits: What none of the figures can show.
    """

    subject: str
    measured: str
    figures: tuple[KeyFigure, ...]
    limits: str
    present: tuple[str, ...] = ()

    @property
    def drawn(self) -> tuple[KeyFigure, ...]:
        """Figures that have data to draw."""
        return tuple(figure for figure in self.figures if figure.rows)


@dataclass(frozen=True, kw_only=True)
class RaisedAlarm:
    """An alarm read from a run's table: step, kind, layer and head (None where it concerns the whole model or layer),
    message and advice.
    """

    step: int
    kind: str
    layer: int | None
    head: int | None
    message: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A table that compares heads, steps or runs, one per column.

    Attributes:
        columns: What they are of: heads, steps or runs.
        rows: Name of a number, and one value a column; NaN where undefined.
        text: What is beside what, and at which step.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    text: str


@dataclass(frozen=True, kw_only=True, repr=False)
class WatchReport(ShownRecord):
    """Data of the page on a run or on checkpoints.

    Attributes:
        subject: The run as it was named.
        running: Whether the run has not ended; one that was killed counts as running.
        step: The last step that was recorded.
        alarms: All alarms, in the order of steps.
        curves: Loss, gradient, logits, entropy and sinks over steps.
        heads: Heads beside one another at the last step.
        steps: Steps beside one another.
        runs: The run beside another at the last step that both recorded; None where no other was named.
        keys: The five figures on key vectors.
        refresh: Seconds after which a browser loads the page again; None for never.
    """

    schema: ClassVar[str] = "heedful.watch/1"
    page_by: ClassVar[str] = "heedful.monitoring.page.watch_page:watch_page"

    subject: str
    running: bool
    step: int
    alarms: tuple[RaisedAlarm, ...]
    curves: tuple[KeyFigure, ...]
    heads: Beside
    steps: Beside
    runs: Beside | None
    keys: KeyReport
    refresh: int | None = None

    @property
    def drawn(self) -> tuple[KeyFigure, ...]:
        """Figures that have data to draw, curves first."""
        return (*(figure for figure in self.curves if figure.rows), *self.keys.drawn)

    def one_line(self) -> str:
        """Summarise the page in one line: the run's name and its numbers of figures and alarms."""
        return f"{self.subject}: {counted(len(self.drawn), 'figure')}, {counted(len(self.alarms), 'alarm')}"
