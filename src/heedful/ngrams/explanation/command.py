"""``heedful ngrams explain``: explain why a derived model attends as it does."""

from pathlib import Path
from typing import Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import PageForms
from heedful.commandline.options import CountsFolder
from heedful.commandline.progress import progress_bar

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that heedful ngrams derive wrote.")]


@guarded
def explain(
    model: Model,
    counts: CountsFolder,
    text: options.Text = None,
    json: options.Json = None,
    html: options.Html = None,
    figures: options.Figures = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Explain a derived model; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.ngrams.explanation.explain import explain as explained
    from heedful.ngrams.explanation.page import FIGURES, explanation_page

    forms = PageForms(json=json, html=html, figures=figures, names=FIGURES, force=force)
    forms.check()
    with progress_bar() as progress:
        record = explained(model, counts, text=text, progress=progress)
    forms.deliver(record, explanation_page(record))
    return 0
