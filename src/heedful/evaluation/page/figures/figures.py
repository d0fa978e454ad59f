"""List of a report's figures, in page order.

Save the figures of a report as files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.evaluation.page.figures.ablation_forest import ABLATION_FOREST
from heedful.evaluation.page.figures.concentration_by_layer import CONCENTRATION_BY_LAYER
from heedful.evaluation.page.figures.concentration_map import CONCENTRATION_MAP
from heedful.evaluation.page.figures.distance_by_layer import DISTANCE_BY_LAYER
from heedful.evaluation.page.figures.entropy_by_layer import ENTROPY_BY_LAYER
from heedful.evaluation.page.figures.mass_by_distance import MASS_BY_DISTANCE
from heedful.reporting.drawing import check_figures, drawn, save_drawn
from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.evaluation.result import Report


FIGURES = (
    ENTROPY_BY_LAYER,
    CONCENTRATION_BY_LAYER,
    MASS_BY_DISTANCE,
    DISTANCE_BY_LAYER,
    ABLATION_FOREST,
    CONCENTRATION_MAP,
)


def check_report_figures(folder: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise an error before the run if the figures cannot be written to ``folder``.

    Args:
        folder: A folder, or nothing yet.
        overwrite: Whether figures that stand there may be replaced.

    Raises:
        OutputError: The folder is none, or a figure stands there and must not be replaced.
    """
    check_figures(folder, overwrite=overwrite, names=[figure.name for figure in FIGURES])


def subject_of(report: Report) -> str:
    """Return the model, text and date of a report in one line, which is shown below the title of each figure."""
    documents = report.data.get("documents")
    amount = f", {count(documents, 'document')}" if isinstance(documents, int) else ""
    started = str(report.run.get("started") or "").partition("T")[0]
    text = f"{report.data.get('origin') or 'unnamed text'}{amount}"
    return "; ".join(filter(None, (str(report.model.get("name") or "model"), text, started)))


def save_figures(report: Report, folder: str | os.PathLike[str], *, overwrite: bool) -> list[Path]:
    """Save every figure for which the report has data, and return the paths.

    Args:
        report: What to show.
        folder: Where; it is made where it is not there.
        overwrite: Whether figures that stand there may be replaced.

    Returns:
        The files, in order.

    Raises:
        OutputError: One could not be written; files that stand are whole, and no temporary file is left.
    """
    check_report_figures(folder, overwrite=overwrite)
    return save_drawn(drawn(report, FIGURES), folder, overwrite=overwrite, subject=subject_of(report))
