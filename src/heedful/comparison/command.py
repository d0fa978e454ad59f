"""``heedful compare``: show what changed between two reports."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import FAILED, guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison


First = Annotated[Path, typer.Argument(metavar="FIRST.json", help="The baseline: a report by --json.")]
Second = Annotated[Path, typer.Argument(metavar="SECOND.json", help="The report that is compared with it.")]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RULE",
        help="What is a regression: verdict (PASS lost to a smaller effect, or a new FAIL; the default), fail (a "
        "new FAIL), "
        "effect (smaller by more than its margin; needs shared documents), never; one or more.",
    ),
]
Page = Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Also write one HTML page.")]
Within = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD=VALUE",
        help="Difference that counts as none for a claim or a unit, as induction=0.02 or mass=0.02; one or more.",
    ),
]
Tolerance = Annotated[
    float, typer.Option(metavar="SHARE", min=0.0, help="Share of a claim's margin that --fail-on effect lets pass.")
]


@guarded
def compare(
    first: First,
    second: Second,
    fail_on: FailOn = None,
    tolerance: Tolerance = 1.0,
    within: Within = None,
    seed: options.Seed = 0,
    json: options.Json = None,
    html: Page = None,
    markdown: options.Markdown = None,
    junit: options.Junit = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Compare two reports; the parameters are the options of the same name.

    Returns:
        The exit code: 1 on a regression by ``--fail-on``, else 0.
    """
    forms = Forms(json=json, html=html, markdown=markdown, junit=junit, force=force)
    forms.check()
    _keep_inputs(forms, (first, second))
    from heedful.comparison.compare_reports import compare as judged

    rules, margins = fail_on or ("verdict",), _margins(within or [])
    found = judged(first, second, fail_on=rules, tolerance=tolerance, within=margins, seed=seed)
    _deliver(found, forms)
    return FAILED if found.failed else 0


def _margins(given: list[str]) -> dict[str, float]:
    from heedful.errors import UsageError

    found = {}
    for one in given:
        name, _, value = one.rpartition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise UsageError(f"--within {one}: expected a claim or unit and a number, as mass=0.02") from None
    return found


def _keep_inputs(forms: Forms, inputs: tuple[Path, Path]) -> None:
    """Refuse to write over a report that is read: as heedful's own file it could be replaced."""
    from heedful.comparison.compare_reports import same_file
    from heedful.errors import UsageError

    for form, path in forms.files.items():
        if any(same_file(path, one) for one in inputs):
            raise UsageError(f"--{form} {path}: is one of the two reports (name another path)")


def _deliver(found: "Comparison", forms: Forms) -> None:
    from heedful.comparison.page_document import comparison_html, comparison_json, comparison_junit, comparison_markdown
    from heedful.comparison.page_lines import print_comparison

    written = forms.write(
        json=lambda: comparison_json(found),
        html=lambda: comparison_html(found),
        markdown=lambda: comparison_markdown(found),
        junit=lambda: comparison_junit(found),
    )
    if forms.json == STANDARD_OUTPUT:
        sys.stdout.write(comparison_json(found))
    else:
        print_comparison(found)
    print_written(written)
