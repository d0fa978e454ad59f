"""``heedful explain``: a derived model and its counts in, why it attends as it does out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.cli import options
from heedful.cli.align import CountsFolder, backend, table_of
from heedful.cli.derive import RECORD, pieces_of
from heedful.cli.exits import guarded
from heedful.cli.page_forms import PageForms
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
    figures: options.Figures = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Explain a derived model; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.counts import read as read_counts
    from heedful.loading import load_model
    from heedful.report.explanation import FIGURES, explanation_page
    from heedful.study.explanation import explain as explained

    forms = PageForms(json=json, html=html, figures=figures, names=FIGURES, force=force)
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
    forms.deliver(record, explanation_page(record))
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
