"""``heedful.prune``: measure the loss increase from removing attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.errors import UsageError
from heedful.evaluation.model_and_text import Reading, model_and_text, one_or_many

if TYPE_CHECKING:
    from heedful.compression.order import Cuts
    from heedful.compression.record import Pruning
    from heedful.evaluation.model_and_text import GivenModel, GivenSequences
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer

Progress = Callable[[int, int, str], None]


def prune(
    model: GivenModel = None,
    sequences: GivenSequences = None,
    text: GivenText | Batches | None = None,
    *,
    part: str | Sequence[str] = (),
    fraction: float | Sequence[float] = (),
    orders: int | None = None,
    each_alone: int | None = None,
    cuts: Cuts | None = None,
    tokenizer: GivenTokenizer | None = None,
    config: str | Path | None = None,
    factory: str | None = None,
    checkpoint: str | Path | None = None,
    seq_len: int = 128,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    allow_global: str | Sequence[str] = (),
    name: str = "",
    notes: Sequence[str] = (),
    progress: Progress = lambda done, total, what: None,
) -> Pruning:
    """Measure the loss increase from removing attention, and whether key redundancy predicts what can be removed.

    The words are those of ``heedful compress prune``. Every other document ranks: redundancy of keys and the price of
    each layer and head alone are measured there. The other documents price the curves, so that no order is tried on
    the text it was chosen on. The model, its hooks, flags and random state are as before afterwards.

    Args:
        model: As for ``heedful.validate``: a causal language model, a masked one with its head, or an encoder without
            one (then dimensions alone are tried, and there is no loss).
        sequences: As for ``heedful.validate``: held-out text of at least two documents.
        text: As for ``heedful.validate``.
        part: What to leave out: ``layers``, ``heads``, ``dimensions``; none means all three.
        fraction: Shares to leave out; none means .1, .25, .5 and .75.
        orders: Random orders, the control: 19 where None.
        each_alone: Remove each layer or head alone where there are at most so many; None is 64.
        cuts: ``part``, ``fraction``, ``orders`` and ``each_alone`` in one, in their place.
        tokenizer: Where it is not the model's own.
        config: Config of a bare checkpoint.
        factory: ``package.module:function`` that builds the model.
        checkpoint: Weights for the model of ``factory``.
        seq_len: Tokens of a sequence that is cut from text.
        device: Where a model that is loaded computes.
        dtype: Number format of a model that is loaded.
        seed: Seed of random orders, ties, shuffled labels, resamples and the choice of text.
        allow_global: Classes that a .pt checkpoint may hold.
        name: What to call the model.
        notes: Further remarks that the record should carry.
        progress: Called with (done, total, what).

    Returns:
        The record.

    Raises:
        UsageError: Words do not go together, or the text is of one document.
        CaptureError: No attention of the model could be met.
        InputRejected: The model's parameters are sharded, or not finite.

    Example:
        >>> heedful.prune("my-checkpoint", text="held_out.txt", part="heads").save("pruned.html")  # doctest: +SKIP
    """
    from heedful.compression.pruning import measure_pruning

    chosen = _cuts(cuts, one_or_many(part), one_or_many(fraction), orders, each_alone)
    reading = Reading(
        config=config,
        factory=factory,
        checkpoint=checkpoint,
        seq_len=seq_len,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_global=one_or_many(allow_global),
    )
    found = model_and_text(model, sequences, text, tokenizer, reading)
    return measure_pruning(
        found.model,
        found.sequences,
        cuts=chosen,
        seed=seed,
        name=name or found.name,
        notes=(*found.notes, *notes),
        progress=progress,
    )


def _cuts(
    cuts: Cuts | None,
    part: tuple[str, ...],
    fraction: tuple[float, ...],
    orders: int | None,
    each_alone: int | None,
) -> Cuts:
    from heedful.compression.order import EACH_ALONE, FRACTIONS, ORDERS, PARTS, Cuts

    if cuts is None:
        return Cuts(
            parts=part or PARTS,
            fractions=fraction or FRACTIONS,
            orders=ORDERS if orders is None else orders,
            each_alone=EACH_ALONE if each_alone is None else each_alone,
        )
    words = {"part": part, "fraction": fraction, "orders": orders, "each_alone": each_alone}
    twice = [word for word, value in words.items() if value not in ((), None)]
    if twice:
        raise UsageError(f"{twice[0]}: given twice: as an argument and in cuts (leave one out)")
    return cuts
