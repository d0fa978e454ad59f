"""``heedful ngrams explain``: a derived model and its counts in, why it attends as it does out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.page_forms import PageForms
from heedful.commandline.progress import progress_bar
from heedful.ngrams.alignment.command import CountsFolder, backend, table_of
from heedful.ngrams.derivation.command_derive import pieces_of

if TYPE_CHECKING:
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM

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
    from heedful.loading.loaded_model import load_model
    from heedful.ngrams.counting.reading import read_counts
    from heedful.ngrams.derivation.stored_derivation import derivation_record
    from heedful.ngrams.explanation.explaining import explain as explained
    from heedful.ngrams.explanation.page import FIGURES, explanation_page

    forms = PageForms(json=json, html=html, figures=figures, names=FIGURES, force=force)
    forms.check()
    made = derivation_record(model)
    loaded = load_model(str(model))
    stored = read_counts(counts, tokenizer=backend(loaded.tokenizer, str(model)))
    tables = {pair: table_of(stored, *pair) for pair in sorted(made.recipe.wanted())}
    with progress_bar() as progress:
        record = explained(
            _derived(loaded.model, model), tables, made.recipe, pieces_of(stored, list(text or ())),
            name=str(model), seed=made.seed, notes=made.notes(stored), spreads=made.spreads, progress=progress,
        )  # fmt: skip
    forms.deliver(record, explanation_page(record))
    return 0


def _derived(model: Any, path: Path) -> "HeedfulDerivedForCausalLM":
    from heedful.errors import InputRejected
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM

    if not isinstance(model, HeedfulDerivedForCausalLM):
        told = f"it is a {type(model).__name__}, no derived model"
        raise InputRejected(str(path), told, "heedful ngrams align takes any model")
    return model
