"""Convert a model and its text, in any accepted form, to a torch module and token sequences.

Load the model and the text that the options of a command name.

Run one trial forward first, so that an unsuitable model fails early with a one-line error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from heedful.commandline.multi_process import own_device
from heedful.errors import HeedfulError, InputRejected, UsageError
from heedful.evaluation.batches import batch_of
from heedful.evaluation.running import device_of, evaluating, run_model, tensor_of
from heedful.loading.given_text import is_text, is_tokenizer, tokenizer_of

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenText
    from heedful.loading.loaded_model import LoadedModel
    from heedful.loading.sequences import TokenBatch
    from heedful.loading.sequences import TokenBatch as BatchedText


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


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Values of the model and text options of a command."""

    model: str | None
    config: Path | None
    tokenizer: str | None
    text: GivenText
    seq_len: int
    sequences: int
    device: str
    dtype: str
    seed: int
    allow_globals: Sequence[str]
    factory: str | None = None
    checkpoint: Path | None = None
    processes: int = 1


def read(inputs: Inputs) -> tuple[LoadedModel, BatchedText]:
    """Load the model and tokenise its text.

    Args:
        inputs: The options.

    Returns:
        What ``load_model`` or ``load_factory``, and ``make_sequences`` give.

    Raises:
        UsageError: Options do not go together.
        InputRejected: What a factory built cannot be judged.
    """
    from heedful.loading.given_text import documents_of
    from heedful.loading.sequences import make_sequences

    _check_together(inputs)
    documents = documents_of(inputs.text or None)  # first: it fails fast
    loaded = _from_command_line(inputs)
    if loaded.tokenizer is None and inputs.checkpoint is not None and not inputs.text:
        return _with_random_tokens(loaded, inputs)
    sequences = make_sequences(
        documents,
        loaded.tokenizer,
        seq_len=inputs.seq_len,
        sequences=inputs.sequences,
        seed=inputs.seed,
        max_positions=loaded.max_positions,
        vocab_size=loaded.vocab_size,
        trained_positions=loaded.trained_positions,
    )
    if inputs.factory is not None:
        try_model(loaded.model, sequences, inputs.factory)
    return loaded, sequences


def _with_random_tokens(loaded: LoadedModel, inputs: Inputs) -> tuple[LoadedModel, BatchedText]:
    """A bare checkpoint without a tokenizer reads random tokens: they show what it computes, not what it learned."""
    from dataclasses import replace

    import torch

    from heedful.errors import UsageError
    from heedful.loading.given_sequences import as_sequences

    words, most = loaded.vocab_size, loaded.max_positions
    if words is None:
        raise UsageError(
            f"--checkpoint {inputs.checkpoint}: it has no tokenizer and shows no embedding (give --tokenizer)"
        )
    if most is not None and inputs.seq_len > most:
        raise UsageError(
            f"--seq-len {inputs.seq_len}: {most} is the maximum of the model's learned positions (lower it)"
        )
    drawn = torch.Generator().manual_seed(inputs.seed)
    ids = torch.randint(words, (inputs.sequences, inputs.seq_len), generator=drawn)
    note = (
        "no tokenizer: the text is random tokens, so sections 3 and 9 say nothing of language (give --tokenizer PATH)"
    )
    return replace(loaded, notes=(*loaded.notes, note)), as_sequences(ids)


def read_model(inputs: Inputs) -> LoadedModel:
    """Load only the model, for commands that already have their sequences.

    Args:
        inputs: The options.

    Raises:
        UsageError: Options do not go together.
        InputRejected: A file of the model is malformed.
    """
    _check_together(inputs)
    return _from_command_line(inputs)


def _check_together(inputs: Inputs) -> None:
    from heedful.errors import UsageError

    if inputs.factory is None:
        if inputs.checkpoint is not None and inputs.model is not None:
            raise UsageError(f"--checkpoint {inputs.checkpoint}: MODEL {inputs.model} was given too (leave one out)")
    elif inputs.processes > 1:
        raise UsageError(f"--factory {inputs.factory}: --parallel tensor divides a MODEL by transformers' plan for it")
    elif inputs.model is not None or inputs.config is not None:
        other = f"MODEL {inputs.model}" if inputs.model is not None else f"--config {inputs.config}"
        raise UsageError(f"--factory {inputs.factory}: builds the model itself (leave {other} out)")


def _from_command_line(inputs: Inputs) -> LoadedModel:
    options: dict[str, Any] = {
        "tokenizer": inputs.tokenizer,
        "device": own_device(inputs.device),
        "dtype": inputs.dtype,
        "allow_globals": tuple(inputs.allow_globals),
    }
    if inputs.factory is not None:
        from heedful.loading.factory import load_factory

        return load_factory(inputs.factory, checkpoint=inputs.checkpoint, seed=inputs.seed, **options)
    from heedful.loading.loaded_model import load_model

    model = inputs.model if inputs.checkpoint is None else str(inputs.checkpoint)
    return load_model(model, config=inputs.config, processes=inputs.processes, **options)


OFFER = "its forward must take token ids (batch, token) and return logits or hidden states (batch, token, width)"


def try_model(model: nn.Module, sequences: TokenBatch, name: str) -> None:
    """Run a model on its first two sequences and raise an error if its output is unsuitable.

    Args:
        model: The model; left as it was.
        sequences: The text that it shall read.
        name: What the user called it.

    Raises:
        InputRejected: Its forward raised, or returned nothing that answers for every token.
    """
    batch = batch_of(sequences, torch.arange(min(2, len(sequences.input_ids))), device_of(model))
    shape = tuple(batch.input_ids.shape)
    try:
        with evaluating(model), torch.no_grad():
            output = run_model(model, batch.input_ids, batch.attention_mask)
    except HeedfulError:
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        ids = f"token ids {shape} up to {int(batch.input_ids.max())}"
        raise InputRejected(name, f"the model's forward raised on {ids}: {message}", OFFER) from error
    found = tensor_of(output, "logits", "last_hidden_state")
    if found is None:
        raise InputRejected(name, f"the model returned {_described(output)}", OFFER)
    if found.dim() != 3 or tuple(found.shape[:2]) != shape or not found.is_floating_point():
        message = f"the model returned a tensor {tuple(found.shape)} for token ids {shape}"
        raise InputRejected(name, message, OFFER)


def _described(output: object) -> str:
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {', '.join(type(part).__name__ for part in output[:4]) or 'nothing'}"
    return "None" if output is None else f"a {type(output).__name__}"
