"""``heedful report``: a stored JSON report shown again: on the terminal, as a page, as figures."""

from pathlib import Path
from typing import Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import tell
from heedful.commandline.outputs import Outputs
from heedful.commandline.stored import stored_report
from heedful.evaluation.page.terminal import print_report


@guarded
def report(
    document: Annotated[Path, typer.Argument(metavar="REPORT.json", help="What heedful validate --json wrote.")],
    html: options.Html = None,
    figures: options.Figures = None,
    junit: options.Junit = None,
    markdown: options.Markdown = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Show a stored report, or make its page, figures and forms again; the parameters are the options of the same name.

    Returns:
        The exit code, 0: the verdict was given when the report was made.
    """
    outputs = Outputs(html=html, figures=figures, markdown=markdown, junit=junit, force=force)
    outputs.check()
    found = stored_report(document)
    written = outputs.write(found)
    if not written:
        print_report(found)
    tell(written)
    return 0
