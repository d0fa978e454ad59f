"""``heedful.align``: compare a model's attention with the attention predicted from n-gram counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.evaluation.model_and_text import Reading, model_and_text, one_or_many

if TYPE_CHECKING:
    from heedful.evaluation.model_and_text import GivenModel, GivenSequences
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer
    from heedful.ngrams.alignment.record import Alignment
    from heedful.ngrams.counting.count import GivenCounts

Progress = Callable[[int, int, str], None]


def align(
    model: GivenModel,
    counts: GivenCounts,
    sequences: GivenSequences = None,
    text: GivenText | Batches | None = None,
    *,
    tokenizer: GivenTokenizer | None = None,
    held_out_counts: GivenCounts | None = None,
    n: str | int | Iterable[int] = "1",
    skip: str | int | Iterable[int] = "0",
    seq_len: int = 128,
    config: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    allow_global: str | Sequence[str] = (),
    progress: Progress = lambda done, total, what: None,
) -> Alignment:
    """Compare each head of a model with the attention predicted by n-gram counts.

    The words are those of ``heedful ngrams align``.

    Args:
        model: A causal model with the tokenizer of the counts: a module, what ``heedful.load_model`` gives, or a path.
        counts: The folder of counts, or what ``heedful.read_counts`` or ``heedful.count`` gave.
        sequences: As for ``heedful.validate``.
        text: As for ``heedful.validate``.
        tokenizer: Where it is not the model's own.
        held_out_counts: Counts of another text by the same tokenizer: what they do not confirm is memory.
        n: Tokens in a context: ``1``, ``[1, 2]`` or ``"1..2"``.
        skip: Tokens between a context and what it speaks of, in the same forms.
        seq_len: Tokens of a sequence that is cut from text.
        config: Config of a bare checkpoint.
        device: Where a model that is loaded computes.
        dtype: Number format of a model that is loaded.
        seed: Seed of the choice of text, the bootstrap and the sign flips.
        allow_global: Classes that a .pt checkpoint may hold.
        progress: Called with (done, total, what).

    Returns:
        Every head against every table, with 95 % intervals over documents.

    Raises:
        UsageError: Words do not go together, or a table was not counted.
        InputRejected: The counts are of another tokenizer, attention sees later tokens, or no row has an expectation.
        CaptureError: No attention of the model could be met.

    Example:
        >>> heedful.align("my-checkpoint", "counts", text="held_out.txt").save("align.html")  # doctest: +SKIP
    """
    from heedful.ngrams.alignment.count_alignment import align as measured
    from heedful.ngrams.counting.count import backend, counts_of, numbers, other_counts, was_counted
    from heedful.ngrams.derivation.table import stored_table

    pairs = [(length, back) for length in numbers(n, "--n") for back in numbers(skip, "--skip", least=0)]
    stored = counts_of(counts)
    tables = {pair: stored_table(stored, *pair) for pair in pairs}
    other = other_counts(held_out_counts, stored)
    unseen = {} if other is None else {pair: stored_table(other, *pair) for pair in pairs}
    reading = Reading(
        config=config,
        seq_len=seq_len,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_global=one_or_many(allow_global),
    )
    found = model_and_text(model, sequences, text, tokenizer, reading)
    if found.tokenizer is not None or found.name:
        counts_of(counts, tokenizer=backend(found.tokenizer, found.name or "model"))
    record = measured(
        found.model, found.sequences, tables, unseen, name=found.name, counts=str(stored.path), seed=seed,
        progress=progress,
    )  # fmt: skip
    return replace(
        record,
        held_out="" if other is None else str(other.path),
        counted_tokens=(stored.manifest.tokens, other.manifest.tokens if other else 0),
        text_was_counted=was_counted(stored, one_or_many(text) if isinstance(text, str | Path | list | tuple) else ()),
    )
