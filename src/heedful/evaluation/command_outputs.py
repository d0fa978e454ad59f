"""Write a report's output files (JSON, HTML, figures, JUnit, Markdown); paths are checked before the run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.commandline.forms import Forms
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.junit import junit
from heedful.evaluation.page.markdown import markdown

if TYPE_CHECKING:
    from heedful.evaluation.result import Report


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
            from heedful.evaluation.page.figures.saving import check_report_figures

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
            from heedful.evaluation.page.figures.saving import save_figures

            save_figures(report, self.figures, overwrite=self.force)
            written.append(self.figures)
        return written


def _page(report: "Report") -> str:
    from heedful.evaluation.page.html.page import to_html

    return to_html(report)
