"""``heedful explain``: a derived model and its counts in, why it attends as it does out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.cli import options
from heedful.cli.align import CountsFolder, backend, table_of
from heedful.cli.derive import RECORD, pieces_of
from heedful.cli.exits import guarded
from heedful.cli.forms import STANDARD_OUTPUT, Forms, tell
from heedful.cli.progress import progress_bar

if TYPE_CHECKING:
    from heedful.derivation.recipe import Recipe
    from heedful.models import HeedfulDerivedForCausalLM

RECORD_BYTES = 1 << 24

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that heedful derive wrote.")]


@guarded
def explain(
    model: Model,
    counts: CountsFolder,
    text: options.Text = None,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Explain a derived model; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.counts import read as read_counts
    from heedful.loading import load_model
    from heedful.report.explanation import explanation_page
    from heedful.report.pages import page_html, print_page, record_json
    from heedful.study.explanation import explain as explained

    forms = Forms(json=json, html=html, force=force)
    forms.check()
    recipe, seed = _recipe(model)
    loaded = load_model(str(model))
    stored = read_counts(counts, tokenizer=backend(loaded.tokenizer, str(model)))
    tables = {pair: table_of(stored, *pair) for pair in sorted(recipe.wanted())}
    with progress_bar() as progress:
        record = explained(
            _derived(loaded.model, model), tables, recipe, pieces_of(stored, list(text or ())),
            name=str(model), seed=seed, progress=progress,
        )  # fmt: skip
    page = explanation_page(record)
    written = forms.write(json=lambda: record_json(record), html=lambda: page_html(page))
    if json == STANDARD_OUTPUT:
        sys.stdout.write(record_json(record))
    else:
        print_page(page)
    tell(written)
    return 0


def _recipe(model: Path) -> "tuple[Recipe, int]":
    """What the model was made by."""
    from heedful.core.errors import InputRejected
    from heedful.derivation.recipe import Recipe
    from heedful.loading.strict_json import read_json

    path = model / RECORD
    if not path.is_file():
        raise InputRejected(str(model), f"it has no {RECORD}", "give the folder that heedful derive wrote")
    try:
        stored = read_json(path, limit=RECORD_BYTES)
        return Recipe(**stored["recipe"]), int(stored["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputRejected(str(path), "it holds no recipe", "derive the model again") from error


def _derived(model: Any, path: Path) -> "HeedfulDerivedForCausalLM":
    from heedful.core.errors import InputRejected
    from heedful.models import HeedfulDerivedForCausalLM

    if not isinstance(model, HeedfulDerivedForCausalLM):
        told = f"it is a {type(model).__name__}, no derived model"
        raise InputRejected(str(path), told, "heedful align takes any model")
    return model
