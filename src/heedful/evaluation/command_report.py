"""``heedful report``: show a stored JSON report again, in the terminal, as a page or as figures."""

from pathlib import Path
from typing import Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import print_written
from heedful.errors import UsageError
from heedful.evaluation.command_outputs import Outputs
from heedful.evaluation.page.brief import print_brief
from heedful.evaluation.stored_report import REPORT, stored_record
from heedful.reporting.readers import RECORDS


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
