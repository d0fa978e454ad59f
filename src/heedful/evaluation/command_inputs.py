"""Load the model and the text that the options of a command name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.commandline.multi_process import own_device

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenText
    from heedful.loading.loaded_model import LoadedModel
    from heedful.loading.sequences import TokenBatch as BatchedText


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Values of the model and text options of a command."""

    model: str | None
    config: Path | None
    tokenizer: str | None
    text: "GivenText"
    seq_len: int
    sequences: int
    device: str
    dtype: str
    seed: int
    allow_globals: Sequence[str]
    factory: str | None = None
    checkpoint: Path | None = None
    processes: int = 1


def read(inputs: Inputs) -> "tuple[LoadedModel, BatchedText]":
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
    loaded = _loaded(inputs)
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
        from heedful.evaluation.trial import try_model

        try_model(loaded.model, sequences, inputs.factory)
    return loaded, sequences


def _with_random_tokens(loaded: "LoadedModel", inputs: Inputs) -> "tuple[LoadedModel, BatchedText]":
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


def read_model(inputs: Inputs) -> "LoadedModel":
    """Load only the model, for commands that already have their sequences.

    Args:
        inputs: The options.

    Raises:
        UsageError: Options do not go together.
        InputRejected: A file of the model is malformed.
    """
    _check_together(inputs)
    return _loaded(inputs)


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


def _loaded(inputs: Inputs) -> "LoadedModel":
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
