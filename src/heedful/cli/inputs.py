"""What both commands read: the model and the sequences that it shall see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heedful.loading import LoadedModel
    from heedful.loading import Sequences as BatchedText


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The model and text options of a command line, as given."""

    model: str | None
    config: Path | None
    tokenizer: str | None
    text: Sequence[Path]
    seq_len: int
    sequences: int
    device: str
    dtype: str
    seed: int
    allow_globals: Sequence[str]


def read(inputs: Inputs) -> "tuple[LoadedModel, BatchedText]":
    """The loaded model and its sequences.

    Args:
        inputs: The options.

    Returns:
        What ``load_model`` and ``make_sequences`` give.
    """
    from heedful.loading import load_documents, load_model, make_sequences

    documents = load_documents(list(inputs.text) or None)  # first: it fails fast
    loaded = load_model(
        inputs.model,
        config=inputs.config,
        tokenizer=inputs.tokenizer,
        device=inputs.device,
        dtype=inputs.dtype,
        allow_globals=tuple(inputs.allow_globals),
    )
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
    return loaded, sequences
