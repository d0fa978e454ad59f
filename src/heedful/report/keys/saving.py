"""The figures on key vectors as files: each as SVG and PNG, each written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from heedful.report.figures.saving import FORMATS
from heedful.report.keys.charts import key_chart
from heedful.report.keys.record import NAMES, KeyReport
from heedful.report.write import check_target, write_atomic


def check_key_figures(folder: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse a folder in which the figures cannot be written, before the work begins.

    Args:
        folder: A folder, or nothing yet.
        overwrite: Whether figures that stand there may be replaced.

    Raises:
        OutputError: The folder is none, or a figure stands there and must not be replaced.
    """
    place = Path(folder)
    if not place.is_dir():
        check_target(place, overwrite=False)
        return
    for name in NAMES:
        for suffix in FORMATS:
            check_target(place / f"{name}{suffix}", overwrite=overwrite)


def save_key_figures(report: KeyReport, folder: str | os.PathLike[str], *, overwrite: bool) -> list[Path]:
    """Write every figure.

    Args:
        report: What to show.
        folder: Where; it is made where it is not there.
        overwrite: Whether figures that stand there may be replaced.

    Returns:
        The files, in order.

    Raises:
        OutputError: One could not be written; files that stand are whole.
    """
    from heedful.core import OutputError

    check_key_figures(folder, overwrite=overwrite)
    charts = [key_chart(figure) for figure in report.figures]
    made = [(Path(folder) / f"{one.figure.name}{end}", write(one)) for one in charts for end, write in FORMATS.items()]
    try:
        Path(folder).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror} (choose another path)") from None
    for path, data in made:
        write_atomic(path, data, overwrite=overwrite)
    return [path for path, _ in made]
