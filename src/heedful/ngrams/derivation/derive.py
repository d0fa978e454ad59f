"""``heedful.derive``: compute a model's attention from counts, and report what its factors retain.

Measure the logit spread of a model's heads over each query's visible keys.

Check whether a head's value matrix fits the position it attends to.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import logits_of, seen_at
from heedful.errors import CaptureError, InputRejected, OutputError, UsageError
from heedful.evaluation.batches import batches_of
from heedful.evaluation.model_and_text import Reading, model_and_text, one_or_many
from heedful.evaluation.running import evaluating, run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.reporting.shown_record import ShownRecord, counted

if TYPE_CHECKING:
    from heedful.evaluation.model_and_text import GivenModel
    from heedful.loading.given_text import GivenText
    from heedful.loading.sequences import TokenBatch
    from heedful.ngrams.counting.count import GivenCounts
    from heedful.ngrams.counting.reading import Counts
    from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
    from heedful.ngrams.derivation.model.deriving import Derived


_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True, repr=False)
class Derivation(ShownRecord):
    """Model with attention computed from counts, its tokenizer, its record and its folder; the JSON schema is
    ``heedful.derivation/1``.

    Attributes:
        model: The model, in evaluation mode.
        tokenizer: That of the counts.
        record: What is stored beside the model as ``derivation.json``.
        out: Its folder; None where it was not saved.
    """

    page_by: ClassVar[str] = "heedful.ngrams.derivation.derive:page_of"
    json_by: ClassVar[str] = "heedful.ngrams.derivation.derive:json_of"

    model: HeedfulDerivedForCausalLM
    tokenizer: Any
    record: Mapping[str, Any]
    out: Path | None = None

    def one_line(self) -> str:
        """Return one line with the numbers of heads and counted tokens, and the model's folder."""
        place = f" in {self.out}" if self.out is not None else ", not saved"
        return f"{counted(len(self.record['heads']), 'head')} from {self.record['counts']['tokens']:,} tokens{place}"


def derive(
    counts: GivenCounts,
    out: str | Path | None = None,
    *,
    recipe: str | DerivationRecipe = "corrected",
    change: str | Sequence[str] = (),
    text: GivenText | None = None,
    length: int | None = None,
    reference: GivenModel = None,
    seed: int = 0,
    progress: Progress = lambda done, total, what: None,
) -> Derivation:
    """Compute a model's attention from n-gram counts.

    The words are those of ``heedful ngrams derive``; ``change`` is its ``--set``.

    Args:
        counts: The folder of counts, or what ``heedful.read_counts`` or ``heedful.count`` gave.
        out: Folder of the model, absent or empty; None saves nothing.
        recipe: ``corrected``, ``offset``, ``seed``, or a recipe of your own.
        change: Fields of the recipe to change, ``"width=512"`` each.
        text: What a calibration is fitted on; None for the text that ships with heedful.
        length: Most tokens of a sequence; None: 256, or what heads with an offset can distinguish.
        reference: A trained model whose logits' spread the heads get.
        seed: Of embeddings.
        progress: Called with (done, total, what).

    Returns:
        The model with its tokenizer, and what its factors kept.

    Raises:
        UsageError: A word cannot be used, or a table of the recipe was not counted.
        InputRejected: The folder holds no whole counts, or the text has no document of a piece's length.
        OutputError: ``out`` cannot be written, or holds something.

    Example:
        >>> import tempfile, pathlib, heedful
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("the cat sat. a dog ran. " * 40)
        >>> counts = heedful.count(folder / "a.txt", folder / "counts")
        >>> made = heedful.derive(counts, change=["layers=1", "heads=1", "width=64", "head_dim=16"])
        >>> made.model.config.num_hidden_layers
        1
    """
    from heedful.ngrams.counting.count import counts_of
    from heedful.ngrams.derivation.model.deriving import derive as derived
    from heedful.ngrams.derivation.model.deriving import usual_length
    from heedful.ngrams.derivation.table import stored_table
    from heedful.training.run_folder import RunFolder

    place = None if out is None else Path(out)
    if place is not None:
        RunFolder(place).check_free()
    named = reference if isinstance(reference, str) or reference is None else str(getattr(reference, "name", "a model"))
    chosen = _recipe(recipe, one_or_many(change), named)
    if length is not None and length < 2:
        raise UsageError(f"length: expected at least 2 tokens, got {length}")
    stored = counts_of(counts)
    spreads = None if reference is None else spreads_of(reference, text, seed)
    wanted = sorted(chosen.wanted())
    _log.info("%s: %s", stored.path, counted(len(wanted), "table"))
    tables = {}
    for done, pair in enumerate(wanted):
        tables[pair] = stored_table(stored, *pair)
        progress(done + 1, len(wanted), "counts")
    pieces = pieces_of(stored, text) if chosen.reads_text else []
    found = derived(tables, chosen, pieces, length or usual_length(chosen), seed, spreads=spreads, progress=progress)
    record = _record(found, chosen, stored, seed)
    record["reference"] = None if reference is None else {"model": named, "spreads": spreads}
    if place is not None:
        _save(found, stored, record, place)
    return Derivation(model=found.model, tokenizer=stored.tokenizer, record=record, out=place)


def page_of(found: Derivation) -> Any:
    """Build the page of a derivation."""
    from heedful.ngrams.derivation.page import derivation_page

    return derivation_page(found.record)


def json_of(found: Derivation) -> str:
    """Return the derivation's record as JSON text, as stored with the model."""
    return json.dumps(found.record, indent=2) + "\n"


def _recipe(name: str | DerivationRecipe, changes: Sequence[str], reference: Any) -> DerivationRecipe:
    """The recipe of that name, changed; a reference asks for the calibration that reads it."""
    from heedful.ngrams.derivation.recipe import DerivationRecipe, recipe_named

    wanted = [] if reference is None else ["calibration=reference"]
    if isinstance(name, DerivationRecipe):
        if changes:
            raise UsageError(f"change: expected none together with your own recipe, got {changes[0]!r}")
        chosen = name
    else:
        chosen = recipe_named(name, [*wanted, *changes])
    if reference is not None and chosen.calibration != "reference":
        raise UsageError(f"--reference {reference} goes with calibration=reference; came {chosen.calibration}")
    if chosen.calibration == "reference" and reference is None:
        raise UsageError("calibration=reference wants --reference MODEL, whose logits it measures")
    return chosen


def spreads_of(reference: GivenModel, text: GivenText | None, seed: int) -> list[list[float]]:
    """Return the logit spread of a model's heads on short excerpts of text, by layer and head.

    Args:
        reference: The model.
        text: Files or strings; None for the text that ships with heedful.
        seed: Of the choice of pieces.
    """
    from heedful.ngrams.derivation.calibrated import PIECE, PIECES

    found = model_and_text(reference, PIECES, text or None, None, Reading(seq_len=PIECE, seed=seed))
    return logit_spreads(found.model, found.sequences)


def pieces_of(stored: Counts, text: GivenText | None) -> list[Any]:
    """Return short, evenly spaced excerpts of text, to fit temperatures and explain models.

    Args:
        stored: Counts, whose tokenizer reads the text.
        text: Files or strings; None for the text that ships with heedful.

    Raises:
        InputRejected: No document has as many tokens as a piece.
    """
    from heedful.loading.given_text import documents_of
    from heedful.ngrams.derivation.calibrated import PIECE, short_pieces

    documents = documents_of(text or None)
    encoded = stored.encode(documents.texts)
    pieces = short_pieces(encoded)
    if not pieces:
        most = max((len(ids) for ids in encoded), default=0)
        message = f"expected a document of {PIECE} tokens, found at most {most}"
        raise InputRejected(documents.origin, message, "give longer --text")
    return pieces


def _record(found: Derived, recipe: DerivationRecipe, stored: Counts, seed: int) -> dict[str, Any]:
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


def _save(found: Derived, stored: Counts, record: dict[str, Any], out: Path) -> None:
    """The whole folder, or nothing of it."""
    from transformers import PreTrainedTokenizerFast

    from heedful.loading.quiet import quiet_transformers
    from heedful.ngrams.derivation.stored_derivation import RECORD
    from heedful.reporting.write import filled_folder, write_atomic
    from heedful.training.saved_card import saved_card

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with filled_folder(out, overwrite=False) as made, quiet_transformers():
            found.model.save_pretrained(made)
            PreTrainedTokenizerFast(tokenizer_object=stored.tokenizer).save_pretrained(made)
            write_atomic(made / "README.md", saved_card(found.model), overwrite=True)
            write_atomic(made / RECORD, json.dumps(record, indent=2) + "\n", overwrite=True)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error} (name another folder)") from error


BATCH_TOKENS = 2048


def logit_spreads(model: nn.Module, sequences: TokenBatch) -> list[list[float]]:
    r"""Return the standard deviation of logits over a query's visible keys, averaged over queries, by layer and head.

    .. math:: \frac1{|Q|} \sum_{i \in Q} \sqrt{\tfrac1{n_i} \sum_{j \in V_i} (l_{ij} - \bar l_i)^2}

    What calibration ``reference`` of a derived model brings its heads to. Pitfall: it depends on how many keys are in
    view; take sequences as long as those that the derived heads are calibrated on.

    Args:
        model: Any model whose attention can be met.
        sequences: Short text: rows of a batch are held whole.

    Returns:
        By layer, in the order of calls, and head; NaN for a head none of whose queries sees two keys.

    Raises:
        CaptureError: No attention of the model could be met.
    """
    totals: dict[str, Tensor] = {}

    def visit(event: AttentionEvent) -> None:
        with unwatched(), torch.no_grad():
            found = _sums(event.call)
            totals[event.path] = totals[event.path] + found if event.path in totals else found

    with evaluating(model), torch.no_grad(), intercept(model, visit):
        for batch in batches_of(model, sequences, BATCH_TOKENS):
            run_model(model, batch.input_ids, batch.attention_mask)
    if not totals:
        raise CaptureError(type(model).__name__, "it ran and none of its attention could be captured")
    return [[float(value) for value in total[0] / total[1]] for total in totals.values()]


def _sums(call: AttentionCall) -> Tensor:
    """Sum of rows' spreads and number of rows, ``(2, head)``."""
    seen = seen_at(call, torch.arange(call.n_queries, device=call.query.device))
    number = seen.sum(-1)
    logits = logits_of(call, 0, call.n_queries).double().masked_fill(~seen, 0.0)
    mean = logits.sum(-1) / number
    variance = ((logits - mean[..., None]).square() * seen).sum(-1) / number
    judged = (number > 1).expand(variance.shape)
    spreads = torch.where(judged, variance.sqrt(), 0.0)
    return torch.stack([spreads.sum((0, 2)), judged.double().sum((0, 2))]).cpu()


@dataclass(frozen=True)
class HeadPairing:
    """Which token the heads of one skip predict, counted from the query, and a sentence that says so.

    Attributes:
        skip: Their skip.
        heads: Which heads of each layer.
        ahead: How many tokens behind the query stands the one that they speak of; 1 is the next.
        sentence: What they do, in words.
    """

    skip: int
    heads: tuple[int, ...]
    ahead: int
    sentence: str

    @property
    def fits(self) -> bool:
        """Whether these heads predict the token directly after the query, which is also what the model predicts."""
        return self.ahead == 1


def pairings(recipe: DerivationRecipe) -> list[HeadPairing]:
    """Return one ``HeadPairing`` for each skip of a recipe.

    A pattern by ``content`` looks for tokens that the counts put ``skip + 1`` after the query; an ``offset`` looks
    back ``skip`` tokens, from where ``skip + 1`` further on is the next: to look anywhere else is impossible here. A
    ``copy`` speaks of the token that is looked at, ``probability`` and ``log_ratio`` of what stands ``skip + 1`` after
    it.

    Args:
        recipe: What is derived how.
    """
    by_skip: dict[int, list[int]] = {}
    for head in range(recipe.heads):
        by_skip.setdefault(recipe.skip(head), []).append(head)
    return [_pairing(recipe, skip, tuple(heads)) for skip, heads in sorted(by_skip.items())]


def _pairing(recipe: DerivationRecipe, skip: int, heads: tuple[int, ...]) -> HeadPairing:
    looked = -skip if recipe.pattern == "offset" else skip + 1
    ahead = looked if recipe.value == "copy" else looked + skip + 1
    looks = f"looks back {skip} tokens" if recipe.pattern == "offset" else f"attends to what often stands {_at(looked)}"
    takes = "copies it" if recipe.value == "copy" else f"adds what stands {skip + 1} after it"
    meaning = "which is the next token" if ahead == 1 else f"which is {_at(ahead)}, while the next is asked for"
    return HeadPairing(skip, heads, ahead, f"{looks} and {takes}, {meaning}.")


def _at(ahead: int) -> str:
    if ahead > 0:
        return f"{ahead} after the query"
    return "the query itself" if ahead == 0 else f"{-ahead} before the query"
