"""``heedful derive``: counts in, a model with attention computed from them out."""

import json as json_text
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, tell
from heedful.commandline.progress import progress_bar
from heedful.ngrams.alignment.command import CountsFolder, table_of

if TYPE_CHECKING:
    from heedful.ngrams.counting.reading import Counts
    from heedful.ngrams.derivation.model.deriving import Derived
    from heedful.ngrams.derivation.recipe import DerivationRecipe

Out = Annotated[Path, typer.Option(metavar="MODEL", help="Folder of the model: absent or empty.")]
RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME", help="corrected, offset, or seed: the published one, faults and all.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; may be given several times."),
]
Length = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=2, help="Most tokens of a sequence. Without it: 256, or what heads with an offset tell apart."
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="A trained model whose logits' spread the heads get, layer by layer and head by head."
    ),
]
Json = Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Also write what was kept as JSON.")]


@guarded
def derive(
    counts: CountsFolder,
    out: Out,
    recipe: RecipeName = "corrected",
    change: Changes = None,
    text: options.Text = None,
    length: Length = None,
    reference: Reference = None,
    seed: options.Seed = 0,
    json: Json = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Derive a model and say what its factors kept; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.ngrams.counting.reading import read_counts
    from heedful.ngrams.derivation.model.deriving import derive as derived
    from heedful.ngrams.derivation.model.deriving import usual_length
    from heedful.ngrams.derivation.page import derivation_page
    from heedful.reporting.pages.terminal import print_page
    from heedful.training.run_folder import RunFolder

    forms = Forms(json=json, force=force)
    forms.check()
    RunFolder(out).check_free()
    chosen = _recipe(recipe, change or [], reference)
    stored = read_counts(counts)
    spreads = None if reference is None else spreads_of(reference, list(text or ()), seed)
    with progress_bar() as progress:
        wanted = sorted(chosen.wanted())
        tables = {}
        for done, pair in enumerate(wanted):
            tables[pair] = table_of(stored, *pair)
            progress(done + 1, len(wanted), "counts")
        pieces = pieces_of(stored, list(text or ())) if chosen.reads_text else []
        found = derived(
            tables, chosen, pieces, length or usual_length(chosen), seed, spreads=spreads, progress=progress
        )
    record = _record(found, chosen, stored, seed)
    record["reference"] = None if reference is None else {"model": reference, "spreads": spreads}
    _save(found, stored, record, out)
    content = json_text.dumps(record, indent=2) + "\n"
    written = forms.write(json=lambda: content)
    if json == STANDARD_OUTPUT:
        sys.stdout.write(content)
    else:
        print_page(derivation_page(record))
    tell([*written, out])
    return 0


def _recipe(name: str, changes: list[str], reference: str | None) -> "DerivationRecipe":
    """The recipe of that name, changed; a reference asks for the calibration that reads it."""
    from heedful.errors import UsageError
    from heedful.ngrams.derivation.recipe import recipe_named

    wanted = [] if reference is None else ["calibration=reference"]
    chosen = recipe_named(name, [*wanted, *changes])
    if reference is not None and chosen.calibration != "reference":
        raise UsageError(f"--reference {reference} goes with calibration=reference; came {chosen.calibration}")
    if chosen.calibration == "reference" and reference is None:
        raise UsageError("calibration=reference wants --reference MODEL, whose logits it measures")
    return chosen


def spreads_of(reference: str, text: list[Path], seed: int) -> list[list[float]]:
    """Spread of the logits of a model on short pieces of the text, read with its own tokenizer, by layer and head.

    Args:
        reference: The model.
        text: Files; none for the text that ships with heedful.
        seed: Of the choice of pieces.
    """
    from heedful.evaluation.command_inputs import Inputs, read
    from heedful.ngrams.derivation.calibrated import PIECE, PIECES
    from heedful.ngrams.explanation.logit_spreads import logit_spreads

    inputs = Inputs(
        model=reference, config=None, tokenizer=None, text=text, seq_len=PIECE, sequences=PIECES, device="cpu",
        dtype="auto", seed=seed, allow_globals=(),
    )  # fmt: skip
    loaded, sequences = read(inputs)
    return logit_spreads(loaded.model, sequences)


def pieces_of(stored: "Counts", text: list[Path]) -> list[Any]:
    """Short pieces of text, spread evenly over it, that temperatures are fitted on and explanations read.

    Args:
        stored: Counts, whose tokenizer reads the text.
        text: Files; none for the text that ships with heedful.

    Raises:
        InputRejected: No document has as many tokens as a piece.
    """
    from heedful.errors import InputRejected
    from heedful.loading.documents import load_documents
    from heedful.ngrams.derivation.calibrated import PIECE, short_pieces

    encoded = stored.encode(load_documents(text or None).texts)
    pieces = short_pieces(encoded)
    if not pieces:
        name = ", ".join(map(str, text)) or "the text that ships with heedful"
        most = max((len(ids) for ids in encoded), default=0)
        raise InputRejected(name, f"expected a document of {PIECE} tokens, found at most {most}", "give longer --text")
    return pieces


def _record(found: "Derived", recipe: "DerivationRecipe", stored: "Counts", seed: int) -> dict[str, Any]:
    from heedful.ngrams.derivation.pairing import pairings
    from heedful.ngrams.derivation.stored_derivation import digest_of

    heads = [
        {
            "layer": layer,
            "head": number,
            "n": recipe.context(layer),
            "skip": recipe.skip(number),
            "queries_and_keys": _facts(head.report),
            "values": _facts(head.value_report),
            "unread": {"queries": head.unread[0], "keys": head.unread[1]} if head.unread else None,
            "output_directions": head.output_directions,
        }
        for layer, row in enumerate(found.heads)
        for number, head in enumerate(row)
    ]
    return {
        "schema": "heedful.derivation/1",
        "recipe": asdict(recipe),
        "seed": seed,
        "length": found.model.config.max_position_embeddings,
        "counts": {
            "tokenizer": stored.manifest.fingerprint,
            "tokens": stored.manifest.tokens,
            "vocabulary": stored.manifest.vocabulary,
            "digest": digest_of(stored, recipe),
        },
        "embedding": found.model.config.embedding_fingerprint,
        "heads": heads,
        "pairings": [
            {"skip": one.skip, "heads": list(one.heads), "ahead": one.ahead, "fits": one.fits, "sentence": one.sentence}
            for one in pairings(recipe)
        ],
    }


def _facts(report: Any) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "asked": report.asked,
        "rank": report.rank,
        "singular_values": [float(value) for value in report.singular_values],
        "condition": report.condition,
        "energy": report.energy,
        "orthogonality": report.orthogonality,
        "residual": report.residual,
        "following": report.following,
        "note": report.note,
    }


def _save(found: "Derived", stored: "Counts", record: dict[str, Any], out: Path) -> None:
    """The whole folder, or nothing of it."""
    from transformers import PreTrainedTokenizerFast

    from heedful.errors import OutputError
    from heedful.loading.quiet import quiet_transformers
    from heedful.ngrams.derivation.stored_derivation import RECORD
    from heedful.reporting.write import filled_folder, write_atomic

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with filled_folder(out, overwrite=False) as made, quiet_transformers():
            found.model.save_pretrained(made)
            PreTrainedTokenizerFast(tokenizer_object=stored.tokenizer).save_pretrained(made)
            write_atomic(made / RECORD, json_text.dumps(record, indent=2) + "\n", overwrite=True)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error} (name another folder)") from error
