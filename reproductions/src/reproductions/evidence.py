"""Folder of measurements that claims read by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars

from heedful.errors import HeedfulError, InputRejected


class NotMeasured(HeedfulError):
    """A measurement that a claim needs is not in the folder.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"nothing was measured under {name!r}")


class Measurements:
    """Folder of measurements: ``NAME/`` is a run, ``NAME.parquet`` or ``.csv`` a table, ``NAME.json`` a document.

    Args:
        folder: Where they are.

    Raises:
        InputRejected: There is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputRejected(str(folder), "expected a folder of measurements, found none", "measure first")

    def run(self, name: str) -> Path:
        """Return the folder of a run.

        Args:
            name: Name of the run.

        Raises:
            NotMeasured: It is not there.
        """
        return self._standing(name, self.folder / name)

    def runs(self, pattern: str) -> list[Path]:
        """Return the run folders whose names match a glob pattern, sorted.

        Args:
            pattern: Such as ``twin-decay-*``.

        Raises:
            NotMeasured: There is none.
        """
        found = sorted(path for path in self.folder.glob(pattern) if path.is_dir())
        if not found:
            raise NotMeasured(pattern)
        return found

    def table(self, name: str) -> polars.DataFrame:
        """Read a table by name.

        Args:
            name: Its name, without an ending.

        Raises:
            NotMeasured: It is not there.
            InputRejected: It cannot be read.
        """
        csv = self.folder / f"{name}.csv"
        path = csv if csv.exists() else self._standing(name, self.folder / f"{name}.parquet")
        try:
            return polars.read_csv(path) if path == csv else polars.read_parquet(path)
        except (OSError, polars.exceptions.PolarsError) as error:
            raise InputRejected(str(path), f"expected a table ({type(error).__name__})", "measure it again") from error

    def document(self, name: str) -> Any:
        """Read a JSON document, such as a report, by name.

        Args:
            name: Its name, without an ending.

        Raises:
            NotMeasured: It is not there.
            InputRejected: It is no JSON.
        """
        path = self._standing(name, self.folder / f"{name}.json")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputRejected(str(path), "expected JSON", "measure it again") from error

    def _standing(self, name: str, path: Path) -> Path:
        if not path.exists():
            raise NotMeasured(name)
        return path
