"""Where a report goes beside the terminal: JSON, a page, figures; what cannot be written is refused before the work."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from heedful.report import check_target, is_report, to_json, write_atomic
from heedful.report.escape import visible

if TYPE_CHECKING:
    from heedful.core import Report

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files that a command line asks for.

    Attributes:
        json: Path of the JSON document, ``-`` for standard output, or None.
        html: Path of the page, or None.
        figures: Folder of the figures, or None.
        force: Whether files that are not earlier reports may be replaced.
    """

    json: Path | None = None
    html: Path | None = None
    figures: Path | None = None
    force: bool = False

    @property
    def drawn(self) -> bool:
        """Whether anything is drawn, so that cards of heads are worth gathering."""
        return self.html is not None or self.figures is not None

    def check(self) -> None:
        """Refuse what cannot be written, before the work begins.

        Raises:
            UsageError: Two outputs share a path.
            OutputError: A path cannot be written, or a file of another kind stands there.
        """
        from heedful.core.errors import UsageError

        paths = [path for path in (self.json, self.html) if path is not None and path != STANDARD_OUTPUT]
        if len({os.path.abspath(path) for path in paths}) < len(paths):
            raise UsageError(f"--html {self.html}: --json would be written to the same file (give each its own)")
        for path in paths:
            check_target(path, overwrite=self.force or is_report(path))
        if self.html == STANDARD_OUTPUT:
            raise UsageError("--html -: a page goes to a file (name one)")
        if self.figures is not None:
            from heedful.report.figures.saving import check_figures

            check_figures(self.figures, overwrite=self.force)

    def write(self, report: "Report") -> list[Path]:
        """Write the files, the JSON document first: from it the others can be made again.

        Args:
            report: The report.

        Returns:
            What was written.

        Raises:
            OutputError: A file could not be written; those that stand are whole.
        """
        written = []
        if self.json is not None and self.json != STANDARD_OUTPUT:
            write_atomic(self.json, to_json(report), overwrite=self.force or is_report(self.json))
            written.append(self.json)
        if self.html is not None:
            from heedful.report.html import to_html

            write_atomic(self.html, to_html(report), overwrite=self.force or is_report(self.html))
            written.append(self.html)
        if self.figures is not None:
            from heedful.report.figures.saving import save_figures

            save_figures(report, self.figures, overwrite=self.force)
            written.append(self.figures)
        return written


def tell(written: list[Path]) -> None:
    """One line on standard error for each file."""
    for path in written:
        typer.echo(f"wrote {visible(path)}", err=True)
