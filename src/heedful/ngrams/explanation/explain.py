"""``heedful.explain``: explain why derived attention is diffuse, sharp or on the wrong keys."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import InputRejected, UsageError

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenText
    from heedful.ngrams.counting.given_counts import GivenCounts
    from heedful.ngrams.derivation.derive import Derivation
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
    from heedful.ngrams.explanation.record import Explanation

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


def explain(
    model: str | Path | Derivation,
    counts: GivenCounts,
    *,
    text: GivenText | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Explanation:
    """Explain a derived model: measure its attention, unchanged and with rescaled matrices, and name the cause.

    The words are those of ``heedful ngrams explain``.

    Args:
        model: Folder that ``heedful.derive`` wrote, or what it returned with a folder.
        counts: The counts that it was derived from: their folder, or what ``heedful.read_counts`` gave.
        text: What is read; None for the text that ships with heedful.
        progress: Called with (done, total, what).

    Returns:
        The explanation.

    Raises:
        UsageError: The model is no folder.
        InputRejected: The model was not derived, the counts are of another tokenizer, or no document is long enough.

    Example:
        >>> heedful.explain("derived", "counts").save("why.html")  # doctest: +SKIP
    """
    from heedful.loading.loaded_model import load_model
    from heedful.ngrams.counting.given_counts import backend, counts_of
    from heedful.ngrams.derivation.derive import pieces_of
    from heedful.ngrams.derivation.stored_derivation import derivation_record
    from heedful.ngrams.derivation.table import stored_table
    from heedful.ngrams.explanation.explaining import explain as explained

    folder = _folder(model)
    made = derivation_record(folder)
    _log.info("%s is explained", folder)
    loaded = load_model(str(folder))
    stored = counts_of(counts, tokenizer=backend(loaded.tokenizer, str(folder)))
    tables = {pair: stored_table(stored, *pair) for pair in sorted(made.recipe.wanted())}
    return explained(
        _derived(loaded.model, folder), tables, made.recipe, pieces_of(stored, text),
        name=str(folder), seed=made.seed, notes=made.notes(stored), spreads=made.spreads, progress=progress,
    )  # fmt: skip


def _folder(model: Any) -> Path:
    place = getattr(model, "out", model)
    if place is None and model is not None:
        raise UsageError("model: it was derived without a folder, from which it is read (give derive an out)")
    if not isinstance(place, str | Path):
        message = f"expected the folder that heedful.derive wrote, got {type(model).__name__}"
        raise UsageError(f"model: {message} (heedful.align takes any model)")
    return Path(place)


def _derived(model: Any, path: Path) -> HeedfulDerivedForCausalLM:
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM

    if not isinstance(model, HeedfulDerivedForCausalLM):
        message = f"it is a {type(model).__name__}, no derived model"
        raise InputRejected(str(path), message, "heedful ngrams align takes any model")
    return model
