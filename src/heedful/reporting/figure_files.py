"""Save figures as SVG and PNG; either all are written or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.reporting.drawing import png, svg
from heedful.reporting.write import check_target, write_atomic

if TYPE_CHECKING:
    from heedful.reporting.drawing import Drawn

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
