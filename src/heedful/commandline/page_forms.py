"""Output formats of a record and its page: terminal, JSON, HTML, figures."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written

if TYPE_CHECKING:
    from heedful.reporting.pages.document import Record
    from heedful.reporting.pages.part import Page


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
            from heedful.reporting.figure_files import check_figures

            check_figures(self.figures, overwrite=self.force, names=self.names)

    def deliver(self, record: "Record", page: "Page") -> None:
        """Write the files (JSON first), print the page, and list the written files.

        Args:
            record: What was found.
            page: The same for a reader.

        Raises:
            OutputError: A file could not be written; those that stand are whole.
        """
        from heedful.reporting.figure_files import save_drawn
        from heedful.reporting.pages.document import record_json
        from heedful.reporting.pages.html import page_html
        from heedful.reporting.pages.terminal import print_page

        written = self.forms.write(json=lambda: record_json(record), html=lambda: page_html(page, record))
        if self.figures is not None:
            drawn = [part.chart() for part in page.parts if part.chart is not None]
            written += save_drawn(drawn, self.figures, overwrite=self.force, subject=page.subject)
        if self.json == STANDARD_OUTPUT:
            sys.stdout.write(record_json(record))
        else:
            print_page(page)
        print_written(written)
