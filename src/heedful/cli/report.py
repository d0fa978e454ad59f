"""``heedful report``: a stored JSON report shown again: on the terminal, as a page, as figures."""

import os
import stat
from pathlib import Path
from typing import Annotated

import typer

from heedful.cli import options
from heedful.cli.exits import guarded
from heedful.cli.outputs import Outputs, tell
from heedful.report import from_json, print_report

MOST_BYTES = 2**28
"""A report document that is larger is none of ours."""


@guarded
def report(
    document: Annotated[Path, typer.Argument(metavar="REPORT.json", help="What heedful validate --json wrote.")],
    html: options.Html = None,
    figures: options.Figures = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Read a report and show it, or make its page and figures again; the parameters are the options of the same name.

    Returns:
        The exit code, 0: the verdict was given when the report was made.
    """
    outputs = Outputs(html=html, figures=figures, force=force)
    outputs.check()
    found = from_json(_text(document), name=str(document))
    if outputs.drawn:
        tell(outputs.write(found))
    else:
        print_report(found)
    return 0


def _text(path: Path) -> bytes:
    from heedful.core.errors import InputRejected

    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise InputRejected(str(path), "is no regular file", "name a report that --json wrote")
        if found.st_size > MOST_BYTES:
            raise InputRejected(str(path), f"{found.st_size:,} bytes are no report", "name what --json wrote")
        return path.read_bytes()
    except OSError as error:
        raise InputRejected(str(path), error.strerror or str(error), "name a report that --json wrote") from None
