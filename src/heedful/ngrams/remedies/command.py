"""``heedful remedy``: counts and text in, every remedy of derived attention on one footing out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.page_forms import PageForms
from heedful.commandline.progress import progress_bar
from heedful.ngrams.alignment.command import CountsFolder, other_counts, table_of, was_counted
from heedful.ngrams.derivation.command_derive import spreads_of

if TYPE_CHECKING:
    from heedful.ngrams.counting.reading import Counts
    from heedful.ngrams.remedies.model_variants import Subject
    from heedful.ngrams.remedies.text import Material, Tables
    from heedful.ngrams.remedies.variant import RemedyContext, Variant

Unseen = Annotated[
    Path | None,
    typer.Option("--held-out-counts", metavar="COUNTS", help="Counts of other text, by the same tokenizer."),
]
Seeds = Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Seeds of embeddings and positions.")]
Rungs = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Rungs or groups of them, with those they change; without it: all."),
]
Length = Annotated[int, typer.Option(metavar="N", min=3, max=128, help="Tokens of a piece: rows are held whole.")]
Sequences = Annotated[int, typer.Option(metavar="N", min=4, help="Pieces of text to measure.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="width or head_dim of the derived models.")
]
Reference = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A trained model whose logits' spread one rung takes over.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A model with the tokenizer of the counts, its heads measured beside the others; several times for "
        "several. Runs of train derived that differ in their seeds alone are averaged.",
    ),
]

WIDTH, STEP, WIDEST = 256, 64, 1_088
"""The published width, and that of large vocabularies, which none tells apart; what wider ones are multiples of; beyond
it only where it is asked for."""

FIELDS = ("width", "head_dim")

COPIES = 8
"""Arrays (piece, row, key) of float64 that are held at once."""


@guarded
def remedy(
    counts: CountsFolder,
    text: options.Text = None,
    held_out_counts: Unseen = None,
    seeds: Seeds = 3,
    rungs: Rungs = None,
    length: Length = 32,
    sequences: Sequences = 100,
    change: Changes = None,
    reference: Reference = None,
    model: Models = None,
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Measure the suite; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.ngrams.counting.reading import read_counts
    from heedful.ngrams.remedies.page import remedy_page
    from heedful.ngrams.remedies.running import run_ablations

    forms = PageForms(json=json, html=html, force=force)
    forms.check()
    stored = read_counts(counts)
    unseen = other_counts(held_out_counts, stored)
    ground = _ground(stored, length, change or [])
    words = [word.strip() for part in rungs or [] for word in part.split(",")]
    suite = _ladder(ground, words, bool(model))
    subjects, models = _given(model or [], stored, length)
    with progress_bar() as progress:
        wanted = {pair for variant in suite for pair in variant.wanted} | {
            pair for one in subjects for pair in one.wanted
        }
        material, origin, notes = _material(stored, unseen, wanted, list(text or ()), length, sequences, seed)
        if reference is not None:
            material = replace(material, spreads=spreads_of(reference, list(text or ()), seed))
        _check_asked(suite, words, material)
        suite, skipped = _with_models(suite, subjects, material)
        record = run_ablations(
            material,
            suite,
            ground,
            seeds=range(seed, seed + seeds),
            names=(str(counts), None if held_out_counts is None else str(held_out_counts), origin),
            notes=[*notes, *_narrow(ground)],
            models=models,
            skipped=skipped,
            progress=progress,
        )
    record = replace(record, text_was_counted=was_counted(stored, text or ()))
    forms.deliver(record, remedy_page(record))
    return 0


def _ladder(ground: "RemedyContext", words: list[str], given: bool) -> "list[Variant]":
    """The variants asked for, but for those of given models, whose group may be named beside the others."""
    from heedful.ngrams.remedies.model_variants import GROUP
    from heedful.ngrams.remedies.suite import ablation_suite as whole
    from heedful.ngrams.remedies.variant import chosen

    own = [word for word in words if word != GROUP] if given else words
    return [] if words and not own else chosen(whole(ground), own)


def _given(places: list[str], stored: "Counts", length: int) -> "tuple[list[Subject], list[Any]]":
    """The given models, or nothing: their room is read only where there are any."""
    if not places:
        return [], []
    from heedful.ngrams.remedies.given_models import given_models

    return given_models(places, stored, length)


def _with_models(
    suite: "list[Variant]", subjects: "list[Subject]", material: "Material"
) -> "tuple[list[Variant], dict[str, str]]":
    from heedful.ngrams.remedies.model_variants import model_variants

    more, skipped = model_variants(subjects, material, [variant.name for variant in suite])
    return [*suite, *more], skipped


def _ground(stored: "Counts", length: int, changes: list[str]) -> "RemedyContext":
    """Width for all: the published one, or what tokens and positions need to be told apart."""
    from heedful.errors import UsageError
    from heedful.ngrams.remedies.variant import LARGE, RemedyContext

    vocabulary = stored.manifest.vocabulary
    needed = -(-(vocabulary + length + 1) // STEP) * STEP
    values = {"width": WIDTH if vocabulary > LARGE else max(WIDTH, min(needed, WIDEST)), "head_dim": 64}
    for one in changes:
        field, equals, value = (part.strip() for part in one.partition("="))
        if not equals or field not in FIELDS:
            raise UsageError(f"--set {one!r}: expected width=N or head_dim=N; rungs name the other fields themselves")
        if not (value.isdecimal() and 2 <= int(value) <= 1 << 16 and int(value) % 2 == 0):
            raise UsageError(f"--set {one!r}: expected an even whole number from 2 up")
        values[field] = int(value)
    return RemedyContext(vocabulary, **values)


def _narrow(ground: "RemedyContext") -> list[str]:
    """What a width under the vocabulary makes of variants that are told as exact."""
    if ground.width >= ground.vocabulary:
        return []
    told = f"{ground.vocabulary:,} tokens do not fit into a width of {ground.width:,}"
    return [f"{told}: least squares are not exact, and every component is the first {ground.exact.head_dim:,}"]


def _material(
    stored: "Counts",
    unseen: "Counts | None",
    wanted: set[tuple[int, int]],
    text: list[Path],
    length: int,
    count: int,
    seed: int,
) -> "tuple[Material, str, list[str]]":
    """Counts and text, and what was odd about it."""
    from heedful.loading.documents import load_documents
    from heedful.loading.memory import ensure_fits
    from heedful.loading.window_choice import choose_bounded
    from heedful.ngrams.remedies.text import EVERY, FITTING, Material, parted

    ensure_fits(
        8 * COPIES * count * length * length,
        f"rows of {count:,} pieces of {length} tokens",
        hint="lower --sequences or --length",
    )
    documents = load_documents(text or None)
    choice = choose_bounded(
        documents,
        lambda body: stored.tokenizer.encode(body).ids,
        size=length,
        count=max(count * EVERY // (EVERY - 1) + EVERY, FITTING * EVERY),
        seed=seed,
    )
    measured, fitting = parted(choice.windows, choice.sources, count)
    notes = [*documents.notes, *(note for note in choice.notes if "windows of" not in note)]
    if len(measured.tokens) < count:
        notes.append(f"{count} pieces of {length} tokens asked for, the text holds {len(measured.tokens)} to measure")
    tables = _tables(stored, wanted | {(1, skip) for skip in range(4)})
    others = None if unseen is None else _tables(unseen, wanted)
    return Material(tables, measured, fitting, others), documents.origin, notes


def _tables(stored: "Counts", wanted: set[tuple[int, int]]) -> "Tables":
    """Those of the wanted tables that were counted, and n = 1, skip 0 or a refusal."""
    counted = {(one.n, one.skip) for one in stored.manifest.tables}
    return {pair: table_of(stored, *pair) for pair in sorted((wanted & counted) | {(1, 0)})}


def _check_asked(suite: "list[Variant]", words: list[str], material: "Material") -> None:
    """What was asked for by name is measured or refused; of the whole suite, variants may be left out."""
    from heedful.errors import UsageError
    from heedful.ngrams.remedies.running import missing_counts

    for variant in suite:
        if words and (why := missing_counts(variant, material)):
            raise UsageError(f"--rungs {variant.name}: {why}")
