"""``heedful.remedy``: measure every remedy for derived attention."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import UsageError
from heedful.evaluation.model_and_text import one_or_many

if TYPE_CHECKING:
    from heedful.evaluation.model_and_text import GivenModel
    from heedful.loading.given_text import GivenText
    from heedful.ngrams.counting.count import GivenCounts
    from heedful.ngrams.counting.reading import Counts
    from heedful.ngrams.remedies.model_variants import Subject
    from heedful.ngrams.remedies.record import AblationSuite
    from heedful.ngrams.remedies.variant import Material, RemedyContext, Tables, Variant

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]

WIDTH, STEP, WIDEST = 256, 64, 1_088
"""The published width, and that of large vocabularies, which none tells apart; what wider ones are multiples of; beyond
it only where it is asked for."""

FIELDS = ("width", "head_dim")

COPIES = 8
"""Arrays (piece, row, key) of float64 that are held at once."""


def remedy(
    counts: GivenCounts,
    text: GivenText | None = None,
    *,
    held_out_counts: GivenCounts | None = None,
    seeds: int = 3,
    variants: str | Sequence[str] = (),
    length: int = 32,
    sequences: int = 100,
    change: str | Sequence[str] = (),
    reference: GivenModel = None,
    model: str | Path | Sequence[str | Path] = (),
    seed: int = 0,
    progress: Progress = lambda done, total, what: None,
) -> AblationSuite:
    """Measure every remedy for derived attention, one change at a time, on one text.

    The words are those of ``heedful ngrams remedy``; ``change`` is its ``--set``.

    Args:
        counts: The folder of counts, or what ``heedful.read_counts`` or ``heedful.count`` gave.
        text: What is measured; None for the text that ships with heedful.
        held_out_counts: Counts of other text, by the same tokenizer.
        seeds: Seeds of embeddings and positions, 1 to 100.
        variants: Variants or groups of them, with those they change; none means all.
        length: Tokens of a piece, 3 to 128: rows are held whole.
        sequences: Pieces of text to measure, at least 4.
        change: ``"width=N"`` or ``"head_dim=N"`` of the derived models.
        reference: A trained model whose logit spread one variant copies.
        model: Folders of models with the tokenizer of the counts, measured beside the others.
        seed: The first seed, and that of the choice of text.
        progress: Called with (done, total, what).

    Returns:
        Every variant with 95 % intervals over documents, seeds averaged within a document.

    Raises:
        UsageError: A word cannot be used, or a variant that was named lacks its counts.
        InputRejected: The counts are not whole, or no row of the text has an expectation.
        ResourceLimit: The pieces would not fit in memory.

    Example:
        >>> heedful.remedy("counts", "held_out.txt", variants="published").save("remedies.html")  # doctest: +SKIP
    """
    from heedful.ngrams.counting.count import counts_of, other_counts, was_counted
    from heedful.ngrams.derivation.derive import spreads_of
    from heedful.ngrams.remedies.running import run_ablations

    _check_counts(seeds=(seeds, 1, 100), length=(length, 3, 128), sequences=(sequences, 4, None))
    stored = counts_of(counts)
    unseen = other_counts(held_out_counts, stored)
    places = [str(one) for one in one_or_many(model)]
    context = _context_of(stored, length, one_or_many(change))
    words = [word.strip() for part in one_or_many(variants) for word in part.split(",")]
    suite = _chosen_variants(context, words, bool(places))
    subjects, models = _given(places, stored, length)
    wanted = {pair for variant in suite for pair in variant.wanted} | {pair for one in subjects for pair in one.wanted}
    material, origin, notes = _material(stored, unseen, wanted, text, length, sequences, seed)
    if reference is not None:
        material = replace(material, spreads=spreads_of(reference, text, seed))
    _check_requested(suite, words, material)
    _log.info("%s: %d variants", stored.path, len(suite))
    suite, skipped = _with_models(suite, subjects, material)
    record = run_ablations(
        material,
        suite,
        context,
        seeds=range(seed, seed + seeds),
        names=(str(stored.path), None if unseen is None else str(unseen.path), origin),
        notes=[*notes, *_narrow(context)],
        models=models,
        skipped=skipped,
        progress=progress,
    )
    read = one_or_many(text) if isinstance(text, str | Path | list | tuple) else ()
    return replace(record, text_was_counted=was_counted(stored, read))


def _check_counts(**limits: tuple[int, int, int | None]) -> None:
    for name, (value, least, most) in limits.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or value < least
            or (most is not None and value > most)
        ):
            message = f"at least {least}" if most is None else f"{least} to {most}"
            raise UsageError(f"{name}: expected {message}, got {value!r:.60}")


def _chosen_variants(context: RemedyContext, words: list[str], given: bool) -> list[Variant]:
    """The variants asked for, but for those of given models, whose group may be named beside the others."""
    from heedful.ngrams.remedies.model_variants import GROUP
    from heedful.ngrams.remedies.suite import ablation_suite as whole
    from heedful.ngrams.remedies.variant import chosen

    own = [word for word in words if word != GROUP] if given else words
    return [] if words and not own else chosen(whole(context), own)


def _given(places: Sequence[str], stored: Counts, length: int) -> tuple[list[Subject], list[Any]]:
    """The given models, or nothing: their room is read only where there are any."""
    if not places:
        return [], []
    from heedful.ngrams.remedies.model_variants import given_models

    return given_models(list(places), stored, length)


def _with_models(
    suite: list[Variant], subjects: list[Subject], material: Material
) -> tuple[list[Variant], dict[str, str]]:
    from heedful.ngrams.remedies.model_variants import model_variants

    more, skipped = model_variants(subjects, material, [variant.name for variant in suite])
    return [*suite, *more], skipped


def _context_of(stored: Counts, length: int, changes: Sequence[str]) -> RemedyContext:
    """Width for all: the published one, or what tokens and positions need to be told apart."""
    from heedful.ngrams.remedies.variant import LARGE, RemedyContext

    vocabulary = stored.manifest.vocabulary
    needed = -(-(vocabulary + length + 1) // STEP) * STEP
    values = {"width": WIDTH if vocabulary > LARGE else max(WIDTH, min(needed, WIDEST)), "head_dim": 64}
    for one in changes:
        field, equals, value = (part.strip() for part in one.partition("="))
        if not equals or field not in FIELDS:
            raise UsageError(
                f"--set {one!r}: expected width=N or head_dim=N; variants name the other fields themselves"
            )
        if not (value.isdecimal() and 2 <= int(value) <= 1 << 16 and int(value) % 2 == 0):
            raise UsageError(f"--set {one!r}: expected an even whole number from 2 up")
        values[field] = int(value)
    return RemedyContext(vocabulary, **values)


def _narrow(context: RemedyContext) -> list[str]:
    """What a width under the vocabulary makes of variants that are told as exact."""
    if context.width >= context.vocabulary:
        return []
    message = f"{context.vocabulary:,} tokens do not fit into a width of {context.width:,}"
    return [f"{message}: least squares are not exact, and every component is the first {context.exact.head_dim:,}"]


def _material(
    stored: Counts,
    unseen: Counts | None,
    wanted: set[tuple[int, int]],
    text: GivenText | None,
    length: int,
    count: int,
    seed: int,
) -> tuple[Material, str, list[str]]:
    """Counts and text, and what was odd about it."""
    from heedful.loading.given_text import documents_of
    from heedful.loading.memory import ensure_fits
    from heedful.loading.window_choice import choose_bounded
    from heedful.ngrams.remedies.variant import EVERY, FITTING, Material, parted

    ensure_fits(
        8 * COPIES * count * length * length,
        f"rows of {count:,} pieces of {length} tokens",
        hint="lower --sequences or --length",
    )
    documents = documents_of(text or None)
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


def _tables(stored: Counts, wanted: set[tuple[int, int]]) -> Tables:
    """Those of the wanted tables that were counted, and n = 1, skip 0 or a refusal."""
    from heedful.ngrams.derivation.table import stored_table

    counted = {(one.n, one.skip) for one in stored.manifest.tables}
    return {pair: stored_table(stored, *pair) for pair in sorted((wanted & counted) | {(1, 0)})}


def _check_requested(suite: list[Variant], words: list[str], material: Material) -> None:
    """What was asked for by name is measured or refused; of the whole suite, variants may be left out."""
    from heedful.ngrams.remedies.running import missing_counts

    for variant in suite:
        if words and (why := missing_counts(variant, material)):
            raise UsageError(f"--variants {variant.name}: {why}")
