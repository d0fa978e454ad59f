"""Convert a model and its text, in any accepted form, to a torch module and token sequences."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import UsageError
from heedful.loading.given_text import is_text, is_tokenizer, tokenizer_of

if TYPE_CHECKING:
    from torch import nn

    from heedful.distributed.ranks import Ranks
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer
    from heedful.loading.loaded_model import LoadedModel
    from heedful.loading.sequences import TokenBatch

    GivenModel = str | Path | nn.Module | LoadedModel | None
    """A module, what ``heedful.load_model`` gives, a path or hub name, or None: the model that ships with heedful."""

    GivenSequences = Batches | GivenTokenizer | int | None
    """Sequences, token ids or batches; a tokenizer where text follows; or how many sequences to cut from text."""

SEQUENCES = 64
"""Sequences cut from text where nobody says how many."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ModelAndText:
    """A loaded model with its token sequences, as a public function needs them.

    Attributes:
        model: The module.
        sequences: What it shall read.
        name: What the user called it; empty for a module without a name.
        notes: Remarks of the loader.
        build: Builds the model again with the random weights of a seed; None where its config says how.
        tokenizer: The tokenizer, where there is one.
    """

    model: nn.Module
    sequences: TokenBatch
    name: str = ""
    notes: tuple[str, ...] = ()
    build: Callable[[int], nn.Module] | None = None
    tokenizer: Any = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options for loading a model and its text, with the names of the command-line options.

    Attributes:
        config: Config of a bare checkpoint.
        factory: ``package.module:function`` that builds the model.
        checkpoint: Weights for the model of a factory.
        seq_len: Tokens of a sequence that is cut from text.
        device: Where a model that is loaded computes.
        dtype: Number format of a model that is loaded.
        seed: Seed of the choice of text.
        allow_global: Classes that a .pt checkpoint may hold.
        ranks: Processes that divide the work; None for this one alone.
        wanted: Sequences to cut where nobody says how many.

    Raises:
        UsageError: A number is none.
    """

    config: str | Path | None = None
    factory: str | None = None
    checkpoint: str | Path | None = None
    seq_len: int = 128
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    allow_global: Sequence[str] = ()
    ranks: Ranks | None = None
    wanted: int = SEQUENCES

    def __post_init__(self) -> None:
        for name, least in (("seq_len", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name}: expected a whole number from {least} up, got {value!r:.60}")


@dataclass
class _Given:
    """What came under the names of sequences, text and tokenizer, each in its place."""

    ids: Any = None
    text: Any = None
    tokenizer: Any = None
    count: int | None = None


def model_and_text(
    model: GivenModel,
    sequences: GivenSequences,
    text: GivenText | Batches | None,
    tokenizer: GivenTokenizer | None,
    reading: Reading,
) -> ModelAndText:
    """Load a model and its text into a torch module and token sequences.

    Args:
        model: See ``GivenModel``.
        sequences: See ``GivenSequences``.
        text: Strings or paths; token ids where ``sequences`` is a tokenizer.
        tokenizer: Where it is not the model's own.
        reading: The other words.

    Raises:
        UsageError: They do not go together, or are none of these.
        InputRejected: A file or a model is not what it should be.
        ResourceLimit: The model would not fit in memory.
    """
    given = _sorted_out(sequences, text, tokenizer)
    if model is None or isinstance(model, str | os.PathLike):
        found = _loaded(model, given, reading)
    else:
        found = _taken(model, given, reading)
    shape = getattr(getattr(found.sequences, "input_ids", None), "shape", "")
    _log.info("%s reads %s", found.name or type(found.model).__name__, tuple(shape))
    return found


def one_or_many(words: Any) -> tuple[Any, ...]:
    """Convert one value or several to a tuple: ``"induction"`` means ``["induction"]``.

    Args:
        words: One value, several, or None for none.

    Example:
        >>> one_or_many("induction"), one_or_many([8, 4]), one_or_many(None)
        (('induction',), (8, 4), ())
    """
    if words is None:
        return ()
    return (words,) if isinstance(words, str | int | float | os.PathLike) else tuple(words)


def _sorted_out(sequences: Any, text: Any, tokenizer: Any) -> _Given:
    if text is not None and tokenizer is None and isinstance(sequences, str | os.PathLike):
        sequences, tokenizer = None, sequences  # the name of a tokenizer, and the text that it reads
    given = _Given(tokenizer=tokenizer)
    for name, one in (("sequences", sequences), ("text", text)):
        if one is None:
            continue
        if isinstance(one, bool) or (isinstance(one, int) and (one < 1 or name == "text")):
            raise UsageError(f"{name}: expected {_EXPECTED[name]}; got {one!r}")
        place = _place(one)
        if getattr(given, place) is not None:
            raise UsageError(f"{name}: {_TWICE[place]} twice, got {type(one).__name__} as the second (leave one out)")
        setattr(given, place, one)
    if given.ids is not None and given.text is not None:
        raise UsageError("expected token ids or text, got both (leave one out)")
    return given


_EXPECTED = {
    "sequences": "sequences, token ids, text, a tokenizer with text after it, or how many to cut (1 or more)",
    "text": "strings, a list of strings, paths, or token ids",
}
_TWICE = {"ids": "expected token ids once, got", "text": "expected text once, got",
          "tokenizer": "expected a tokenizer once, got", "count": "expected one number, got"}  # fmt: skip


def _place(one: Any) -> str:
    if isinstance(one, int):
        return "count"
    if is_tokenizer(one):
        return "tokenizer"
    return "text" if is_text(one) else "ids"


def _loaded(model: Any, given: _Given, reading: Reading) -> ModelAndText:
    from heedful.evaluation.command_inputs import Inputs, read, read_model

    ranks = reading.ranks
    inputs = Inputs(
        model=None if model is None else str(model),
        config=None if reading.config is None else Path(reading.config),
        factory=reading.factory,
        checkpoint=None if reading.checkpoint is None else Path(reading.checkpoint),
        tokenizer=given.tokenizer if isinstance(given.tokenizer, str | None) else _path_or_none(given.tokenizer),
        text=given.text or (),
        seq_len=reading.seq_len,
        sequences=given.count or reading.wanted,
        device=reading.device,
        dtype=reading.dtype,
        seed=reading.seed,
        allow_globals=one_or_many(reading.allow_global),
        processes=ranks.count if ranks is not None and ranks.divide == "tensor" else 1,
    )
    if given.ids is None and (given.tokenizer is None or isinstance(given.tokenizer, str | os.PathLike)):
        loaded, sequences = read(inputs)
    else:
        loaded = read_model(inputs)
        sequences = _sequences(loaded.model, given, tokenizer_of(given.tokenizer) or loaded.tokenizer, reading)
    return ModelAndText(
        model=loaded.model,
        sequences=sequences,
        name=loaded.name,
        notes=tuple(loaded.notes),
        build=getattr(loaded, "build", None),
        tokenizer=getattr(loaded, "tokenizer", None),
    )


def _path_or_none(tokenizer: Any) -> str | None:
    return os.fspath(tokenizer) if isinstance(tokenizer, os.PathLike) else None


def _taken(model: Any, given: _Given, reading: Reading) -> ModelAndText:
    """A model that is at hand, and stays where and as it is."""
    from torch import nn

    from heedful.loading.loaded_model import LoadedModel

    if not isinstance(model, nn.Module | LoadedModel):
        message = f"expected a torch module, what load_model gives, a path, or None; got {_named(model)}"
        raise UsageError(f"model: {message}")
    for word, value, usual in (
        ("config", reading.config, None),
        ("factory", reading.factory, None),
        ("checkpoint", reading.checkpoint, None),
        ("dtype", reading.dtype, "auto"),
        ("device", reading.device, "auto"),
    ):
        if value != usual:
            raise UsageError(
                f"{word}: {value}: applies only to a model that heedful loads, and this model is already loaded"
            )
    tokenizer = tokenizer_of(given.tokenizer)
    if not isinstance(model, LoadedModel):
        return ModelAndText(model=model, sequences=_sequences(model, given, tokenizer, reading), tokenizer=tokenizer)
    tokenizer = tokenizer or model.tokenizer
    return ModelAndText(
        model=model.model,
        sequences=_sequences(model.model, given, tokenizer, reading),
        name=model.name,
        notes=model.notes,
        build=model.build,
        tokenizer=tokenizer,
    )


def _named(model: object) -> str:
    if isinstance(model, type):
        return f"the class {model.__name__} (build it first)"
    return type(model).__name__


def _sequences(model: nn.Module, given: _Given, tokenizer: Any, reading: Reading) -> TokenBatch:
    """Sequences of what was given; a module that cannot read them is refused in one line."""
    from heedful.evaluation.trial import try_model
    from heedful.loading.given_sequences import as_sequences
    from heedful.loading.given_text import documents_of
    from heedful.loading.positions import embedded_tokens, learned_positions, trained_positions
    from heedful.loading.sequences import TokenBatch, make_sequences

    if isinstance(given.ids, TokenBatch):
        return given.ids
    if given.ids is not None:
        made = as_sequences(given.ids, tokenizer=tokenizer)
        _check_ids(made, embedded_tokens(model), learned_positions(model))
    else:
        if tokenizer is None:
            message = "expected token ids, or a tokenizer for the text, because the model brings none"
            raise UsageError(f"sequences: {message} (heedful.validate(model, tokenizer, texts), say)")
        made = make_sequences(
            documents_of(given.text),
            tokenizer,
            seq_len=reading.seq_len,
            sequences=given.count or reading.wanted,
            seed=reading.seed,
            max_positions=learned_positions(model),
            vocab_size=embedded_tokens(model),
            trained_positions=trained_positions(model),
        )
    try_model(model, made, type(model).__name__)
    return made


def _check_ids(made: TokenBatch, embedded: int | None, positions: int | None) -> None:
    largest, length = int(made.input_ids.max()), made.input_ids.shape[1]
    if embedded is not None and largest >= embedded:
        raise UsageError(f"token ids: expected ids below {embedded:,}, which the model embeds; got {largest:,}")
    if positions is not None and length > positions:
        raise UsageError(f"token ids: expected at most {positions:,} a sequence, the model's positions; got {length:,}")
