"""Run checkpoints on one text and measure each as the tracker measures a training step.

Find the checkpoints that a command line names, with the training step of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import polars
import torch
from torch import nn

from heedful.errors import CaptureError, InputRejected, UsageError
from heedful.evaluation.batches import batches_of
from heedful.evaluation.model_and_text import try_model
from heedful.evaluation.running import evaluating, run_model
from heedful.interception.uncompiled import without_heads
from heedful.loading.documents import Documents
from heedful.loading.loaded_model import LoadedModel, agreement, load_model
from heedful.loading.regular_file import read_json
from heedful.loading.run_files import RECORD, STATE, STATE_BYTES, WHOLE
from heedful.loading.sequences import TokenBatch, make_sequences
from heedful.loading.tokenizer_files import load_tokenizer
from heedful.loading.wording import escaped
from heedful.monitoring.tracker.forward_sums import ForwardSums
from heedful.monitoring.tracker.parameters import Gains, Row
from heedful.monitoring.tracker.record import layer_rows
from heedful.monitoring.tracker.table import table_frame
from heedful.monitoring.vectors.vectors import Sample

TOKENS = 1024
"""Tokens of a batch, about."""

Progress = Callable[[int, int, str], None]
Shape = list[tuple[str, int, int, int]]


@dataclass(frozen=True, kw_only=True)
class CheckpointReading:
    """The text to run all checkpoints on, and the options to load them.

    Attributes:
        documents: The text.
        seq_len: Tokens of a sequence.
        sequences: Sequences.
        seed: Seed of the choice of sequences.
        device: As ``load_model`` takes it.
        dtype: As ``load_model`` takes it.
        config: Config of bare checkpoints, or None.
        tokenizer: Folder, file or hub name; None for that of each checkpoint, or of the folder it stands in.
        allow_globals: As ``load_model`` takes it.
    """

    documents: Documents
    seq_len: int = 128
    sequences: int = 32
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    config: Path | None = None
    tokenizer: str | None = None
    allow_globals: tuple[str, ...] = ()


def checkpoint_table(
    checkpoints: Sequence[Checkpoint], reading: CheckpointReading, progress: Progress = lambda *_: None
) -> polars.DataFrame:
    """Return the tracker's table for checkpoints: queries, keys, rows and gains, without gradients or loss.

    Each is loaded, run in evaluation mode over the same sequences, and left. All tokens of all sequences are measured.

    Args:
        checkpoints: In the order of their steps.
        reading: What they read.
        progress: Called as ``progress(done, total, what)``.

    Returns:
        The columns of ``AttentionTracker``'s table; a row of part ``text`` at each step names what was read.

    Raises:
        InputRejected: A checkpoint cannot be loaded or run, or differs from the first in its attention or its tokens.
        UsageError: A path is missing, or an argument does not go with the others.
        ResourceLimit: A model would not fit in memory.
    """
    frames, first, shape = [], None, None
    for place, one in enumerate(checkpoints):
        loaded = _loaded(one, reading)
        sequences = _sequences(loaded, reading)
        if first is None:
            first = sequences
        elif sequences.fingerprint != first.fingerprint:
            message = f"its tokenizer makes other tokens of the text than that of {escaped(checkpoints[0].name)}"
            raise InputRejected(escaped(one.name), message, "give --tokenizer PATH for all")

        def report(done: int, total: int, place: int = place, one: Checkpoint = one) -> None:
            progress(place * total + done, len(checkpoints) * total, f"reading with {Path(one.name).name}")

        captured = forward_sums(loaded.model, sequences, one.name, report)
        own = _shape(captured)
        if shape is None:
            shape = own
        elif own != shape:
            raise InputRejected(escaped(one.name), _difference(shape, own, checkpoints[0].name), "give one model's")
        frames.append(table_frame(one.step, _rows(captured, loaded, sequences)))
        del loaded
    return polars.concat(frames, how="diagonal")


def forward_sums(
    model: nn.Module, sequences: TokenBatch, name: str, report: Callable[[int, int], None] = lambda *_: None
) -> ForwardSums:
    """Run a model on sequences and return the summed statistics of queries, keys and attention, by attention module.

    Args:
        model: The model; left as it was.
        sequences: What it reads.
        name: What the user called it.
        report: Called as ``report(done, total)`` after each batch.

    Raises:
        InputRejected: Its forward raises, or shows no attention.
        ResourceLimit: A batch would not fit in memory.
    """
    try_model(model, sequences, escaped(name))
    everything = Sample(sequences=len(sequences.input_ids), positions=sequences.input_ids.shape[1], logits=None)
    captured = ForwardSums(everything)
    batches = batches_of(model, sequences, TOKENS)
    with evaluating(model), torch.no_grad(), captured.meeting(model) as way:
        for place, batch in enumerate(batches):
            run_model(model, batch.input_ids, batch.attention_mask)
            report(place + 1, len(batches))
        captured.note_not_captured(way)
    if not captured.sums and (message := without_heads(model)):
        raise InputRejected(escaped(name), message, "name a run whose model attends")
    if not captured.sums:
        message = "; ".join(list(captured.notes.values())[:1]) or "no module of it attends"
        raise CaptureError(escaped(name), f"it ran and showed no attention: {message}", "see heedful check")
    return captured


def _loaded(checkpoint: Checkpoint, reading: CheckpointReading) -> LoadedModel:
    loaded = load_model(
        checkpoint.name,
        config=reading.config,
        tokenizer=reading.tokenizer,
        device=reading.device,
        dtype=reading.dtype,
        allow_globals=reading.allow_globals,
    )
    place = Path(checkpoint.name).expanduser().absolute()
    if loaded.tokenizer is not None or not place.exists():
        return loaded
    # A Trainer that was given no tokenizer leaves step folders without one; the run's folder may hold it.
    tokenizer, _ = load_tokenizer(place.parent)
    agreement(tokenizer, loaded.model, checkpoint.name)
    return replace(loaded, tokenizer=tokenizer)


def _sequences(loaded: LoadedModel, reading: CheckpointReading) -> TokenBatch:
    return make_sequences(
        reading.documents,
        loaded.tokenizer,
        seq_len=reading.seq_len,
        sequences=reading.sequences,
        seed=reading.seed,
        max_positions=loaded.max_positions,
        vocab_size=loaded.vocab_size,
        trained_positions=loaded.trained_positions,
    )


def _text_note(sequences: TokenBatch) -> str:
    number, length = sequences.input_ids.shape
    return (
        f"{int(sequences.attention_mask.sum()):,} tokens in {number:,} sequences of at most {length:,} "
        f"from {sequences.origin}"
    )


def _rows(captured: ForwardSums, loaded: LoadedModel, sequences: TokenBatch) -> list[Row]:
    gains = Gains()
    gains.begin(loaded.model, ())
    rows: list[Row] = [{"part": "text", "note": _text_note(sequences)}]
    rows += [{"part": "note", "note": note} for note in (*loaded.notes, *sequences.notes)]
    for path, layer in captured.layers.items():
        found = layer_rows(layer, captured.sums[path]) + gains.rows(path)
        rows += [{"layer": layer.index, "module": path, **row} for row in found]
    return rows + [{"part": "note", "module": path, "note": note} for path, note in captured.notes.items()]


def _shape(captured: ForwardSums) -> Shape:
    """Path, heads, key heads and dimension of each attention module."""
    dims = {path: sums.within("key/after/").added["second_moments"].shape[-1] for path, sums in captured.sums.items()}
    return [(path, layer.heads, layer.kv_heads, dims[path]) for path, layer in captured.layers.items()]


def _difference(expected: Shape, found: Shape, first: str) -> str:
    if len(expected) != len(found):
        return f"expected {len(expected)} attention modules as in {escaped(first)}, found {len(found)}"
    one, other = next((a, b) for a, b in zip(expected, found, strict=True) if a != b)
    first_words, words = (
        f"{path} with {heads} query heads and {kv_heads} key heads of dimension {dim}"
        for path, heads, kv_heads, dim in (one, other)
    )
    return f"expected {first_words} as in {escaped(first)}, found {words}"


_STEP = re.compile(r"(?:checkpoint|ckpt|steps?|iter(?:ation)?)[-_=]?(\d{1,12})(?!\d)|^(\d{1,12})(?!\d)", re.IGNORECASE)
_FOLDER = re.compile(r"(?:checkpoint|ckpt|(?:global_?)?step|iter)[-_]?\d{1,12}", re.IGNORECASE)


@dataclass(frozen=True)
class Checkpoint:
    """Path of a saved model and its training step.

    Attributes:
        name: What ``load_model`` takes: a folder, a file or a name on the hub.
        step: Step of the training; 0 where a single checkpoint does not say.
    """

    name: str
    step: int


def find_checkpoints(names: Sequence[str]) -> list[Checkpoint]:
    """Return the checkpoints in the given folders and files, sorted by step.

    A single folder that holds step folders (``checkpoint-100``, ``step_100``, ...) stands for these; of a run of
    ``heedful train``, for those that were written to their end. A step is read from the name, else from the
    ``trainer_state.json`` in the folder.

    Args:
        names: Models, or one folder that holds step folders.

    Raises:
        UsageError: One of several does not say its step, or two are of one step.
        InputRejected: A ``trainer_state.json`` is malformed.
    """
    inside = _step_folders(Path(names[0]).expanduser()) if len(names) == 1 else []
    places = [str(path) for path in inside] or list(names)
    if len(places) == 1:
        return [Checkpoint(places[0], _step(places[0]) or 0)]
    found = []
    for place in places:
        step = _step(place)
        if step is None:
            message = "several checkpoints are put in the order of their steps, and this one does not say its own"
            raise UsageError(f"{escaped(place)}: {message} (name it as checkpoint-100, or give it alone)")
        found.append(Checkpoint(place, step))
    found.sort(key=lambda one: one.step)
    for one, other in pairwise(found):
        if one.step == other.step:
            both = f"{escaped(one.name)} and {escaped(other.name)}"
            raise UsageError(f"{both}: both are of step {one.step} (give one checkpoint of a step)")
    return found


def _step_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        found = sorted(path for path in folder.iterdir() if _FOLDER.fullmatch(path.name) and path.is_dir())
    except OSError as error:
        raise InputRejected(escaped(folder), f"cannot be read: {error.strerror}", "check its permissions") from error
    if (folder / RECORD).is_file():
        found = [path for path in found if (path / WHOLE).is_file()]
    return found


def _step(name: str) -> int | None:
    """The step that a name tells, else that of the Trainer's state in its folder."""
    path = Path(name).expanduser()
    for part in (path.name, path.parent.name if path.is_file() else ""):
        numbers = [first or second for first, second in _STEP.findall(part)]
        if numbers:
            return int(numbers[-1])
    if path.is_dir() and (path / STATE).exists():
        step = read_json(path / STATE, STATE_BYTES).get("global_step")
        return step if isinstance(step, int) and not isinstance(step, bool) and step >= 0 else None
    return None
