"""``heedful report``: show a stored JSON report again, in the terminal, as a page or as figures.

Write a report's output files (JSON, HTML, figures, JUnit, Markdown); paths are checked before the run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import Forms, print_written
from heedful.errors import UsageError
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.junit import junit, markdown
from heedful.evaluation.page.summary_lines import print_brief
from heedful.evaluation.stored_report import REPORT, stored_record
from heedful.reporting.json_values import RECORDS

if TYPE_CHECKING:
    from heedful.evaluation.result import Report


@guarded
def report(
    document: Annotated[Path, typer.Argument(metavar="REPORT.json", help="What heedful validate --json wrote.")],
    html: options.Html = None,
    figures: options.Figures = None,
    junit: options.Junit = None,
    markdown: options.Markdown = None,
    brief: options.Brief = False,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Show a stored report, or write its page, figures and CI files again; the parameters are the options of the same
    name.

    Returns:
        The exit code, 0: the verdict was given when the report was made.
    """
    outputs = Outputs(html=html, figures=figures, markdown=markdown, junit=junit, force=force)
    outputs.check()
    reader, found = stored_record(document)
    if reader is not RECORDS[REPORT]:
        if outputs.forms.files or figures is not None:
            raise UsageError(f"{document}: only a heedful.report has pages and figures (leave them out to show it)")
        reader.show(found, None)
        return 0
    written = outputs.write(found)
    if brief:
        print_brief(found)
    elif not written:
        reader.show(found, None)
    print_written(written)
    return 0


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Paths of the output files that the user requested.

    Attributes:
        json: Path of the JSON document, ``-`` for standard output, or None.
        html: Path of the page, or None.
        figures: Folder of the figures, or None.
        markdown: Path of the Markdown summary, or None.
        junit: Path of the JUnit document, or None.
        force: Whether files that are not heedful's own may be replaced.
    """

    json: Path | None = None
    html: Path | None = None
    figures: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    force: bool = False

    @property
    def forms(self) -> Forms:
        """All requested outputs except the figures."""
        return Forms(json=self.json, html=self.html, markdown=self.markdown, junit=self.junit, force=self.force)

    @property
    def drawn(self) -> bool:
        """Whether HTML or figures are requested; head cards are computed only then."""
        return self.html is not None or self.figures is not None

    def check(self) -> None:
        """Raise an error before the run if an output cannot be written.

        Raises:
            UsageError: Two outputs share a path, or a form other than JSON is asked for on standard output.
            OutputError: A path cannot be written, or a file of another kind stands there.
        """
        self.forms.check()
        if self.figures is not None:
            from heedful.evaluation.page.figures.figures import check_report_figures

            check_report_figures(self.figures, overwrite=self.force)

    def write(self, report: "Report") -> list[Path]:
        """Write the files, JSON first, because the others can be rebuilt from it.

        Args:
            report: The report.

        Returns:
            What was written.

        Raises:
            OutputError: A file could not be written; those that stand are whole.
        """
        written = self.forms.write(
            json=lambda: to_json(report),
            html=lambda: _page(report),
            markdown=lambda: markdown(report),
            junit=lambda: junit(report),
        )
        if self.figures is not None:
            from heedful.evaluation.page.figures.figures import save_figures

            save_figures(report, self.figures, overwrite=self.force)
            written.append(self.figures)
        return written


def _page(report: "Report") -> str:
    from heedful.evaluation.page.html.page import to_html

    return to_html(report)
