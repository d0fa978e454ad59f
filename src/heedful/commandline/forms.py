"""Output files of a command: paths are checked before the run, files are written whole afterwards.

Output formats of a record and its page: terminal, JSON, HTML, figures.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from heedful.reporting.escape import visible
from heedful.reporting.write import check_target, is_own, write_atomic

if TYPE_CHECKING:
    from heedful.reporting.pages.part import Page, Record


STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class Forms:
    """Output paths of a result, by format (JSON, HTML ...).

    Attributes:
        json: Path, or ``-`` for standard output.
        html: Path.
        markdown: Path; an empty file that stands there, as ``$GITHUB_STEP_SUMMARY`` does, is filled.
        junit: Path.
        force: Whether a file that is not heedful's own may be replaced.
    """

    json: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    force: bool = False

    @property
    def files(self) -> dict[str, Path]:
        """Paths of the requested output files by format (``json``, ``html`` ...), without an output to standard
        output.
        """
        named = {"json": self.json, "html": self.html, "markdown": self.markdown, "junit": self.junit}
        return {form: path for form, path in named.items() if path is not None and (form, path) != _TO_STREAM}

    def check(self) -> None:
        """Raise an error before any input is read if an output path cannot be written.

        Raises:
            UsageError: One path is named twice, or a form other than JSON is asked for on standard output.
            OutputError: A path cannot be written, or a file that is not heedful's own stands there.
        """
        from heedful.errors import UsageError

        seen: dict[Path, str] = {}
        for form, path in self.files.items():
            if path == STANDARD_OUTPUT:
                raise UsageError(f"--{form} -: standard output takes --json alone (name a file)")
            place = Path(os.path.abspath(path))
            if place in seen:
                raise UsageError(f"--{form} {path}: is the path of --{seen[place]} too (name another)")
            seen[place] = form
            check_target(path, overwrite=self.force or is_own(path))

    def write(self, **texts: Callable[[], str | bytes]) -> list[Path]:
        """Write the requested files, JSON first, because the others can be rebuilt from it.

        Args:
            **texts: Form to a function that gives its content.

        Returns:
            What was written.

        Raises:
            OutputError: A file could not be written; what stood there is whole.
        """
        written = {form: path for form, path in self.files.items() if form in texts}
        for form, path in written.items():
            write_atomic(path, texts[form](), overwrite=self.force or is_own(path))
        return list(written.values())


def print_written(written: Iterable[Path]) -> None:
    """Print one line on standard error for each file.

    Args:
        written: What was written.
    """
    for path in written:
        typer.echo(f"wrote {visible(path)}", err=True)


_TO_STREAM = ("json", STANDARD_OUTPUT)


@dataclass(frozen=True, kw_only=True)
class PageForms:
    """Outputs of a page that the user requested.

    Attributes:
        json: Path of the record, ``-`` for standard output, or None.
        html: Path of the page, or None.
        figures: Folder of the figures, or None.
        names: Names of the figures that the page may have.
        force: Whether files that are not heedful's own may be replaced.
    """

    json: Path | None
    html: Path | None
    figures: Path | None = None
    names: Sequence[str] = ()
    force: bool = False

    @property
    def forms(self) -> Forms:
        """All requested outputs except the figures."""
        return Forms(json=self.json, html=self.html, force=self.force)

    def check(self) -> None:
        """Raise an error before the run if an output cannot be written.

        Raises:
            UsageError: Two outputs share a path, or a page is asked for on standard output.
            OutputError: A path cannot be written, or a file of another kind stands there.
        """
        self.forms.check()
        if self.figures is not None:
            from heedful.reporting.drawing import check_figures

            check_figures(self.figures, overwrite=self.force, names=self.names)

    def deliver(self, record: "Record", page: "Page") -> None:
        """Write the files (JSON first), print the page, and list the written files.

        Args:
            record: What was found.
            page: The same for a reader.

        Raises:
            OutputError: A file could not be written; those that stand are whole.
        """
        from heedful.reporting.drawing import save_drawn
        from heedful.reporting.pages.html import page_html, print_page
        from heedful.reporting.pages.part import record_json

        written = self.forms.write(json=lambda: record_json(record), html=lambda: page_html(page, record))
        if self.figures is not None:
            drawn = [part.chart() for part in page.parts if part.chart is not None]
            written += save_drawn(drawn, self.figures, overwrite=self.force, subject=page.subject)
        if self.json == STANDARD_OUTPUT:
            sys.stdout.write(record_json(record))
        else:
            print_page(page)
        print_written(written)
