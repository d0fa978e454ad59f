"""Save the figures of a run as SVG and PNG files."""

from __future__ import annotations

import os
from pathlib import Path

from heedful.monitoring.page.charts import key_chart
from heedful.monitoring.page.record import CURVES, NAMES, WatchReport
from heedful.reporting.drawing import check_figures, save_drawn


def check_key_figures(folder: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise an error before any work if the figures cannot be written to ``folder``.

    Args:
        folder: A folder, or nothing yet.
        overwrite: Whether figures that stand there may be replaced.

    Raises:
        OutputError: The folder is none, or a figure stands there and must not be replaced.
    """
    check_figures(folder, overwrite=overwrite, names=(*NAMES, *CURVES))


def save_key_figures(report: WatchReport, folder: str | os.PathLike[str], *, overwrite: bool) -> list[Path]:
    """Save every figure that has data as SVG and PNG, and return the paths.

    Args:
        report: What to show.
        folder: Where; it is made where it is not there.
        overwrite: Whether figures that stand there may be replaced.

    Returns:
        The files, in order.

    Raises:
        OutputError: One could not be written; files that stand are whole.
    """
    check_key_figures(folder, overwrite=overwrite)
    drawn = [key_chart(figure) for figure in report.drawn]
    return save_drawn(drawn, folder, overwrite=overwrite, subject=f"{report.subject}; {report.keys.measured}")
