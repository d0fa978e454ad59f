"""Train a reference model from texts to a loadable folder, with transformers' Trainer."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Trainer, TrainerCallback

from heedful.errors import InputRejected
from heedful.loading.documents import Documents
from heedful.loading.loaded_model import load_model
from heedful.loading.quiet import quiet_transformers
from heedful.loading.regular_file import read_small
from heedful.loading.run_files import STATE, STATE_BYTES
from heedful.loading.tokenizer_files import load_tokenizer
from heedful.loading.wording import escaped, reason
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.reporting.write import move_in, private_folder, write_atomic
from heedful.training.held_out_figures import document_losses
from heedful.training.run_folder import RunFolder, step_of, write_whole
from heedful.training.run_settings import RunSettings
from heedful.training.run_trainer import Progress, ProgressCallback, build_trainer, training_arguments
from heedful.training.saved_card import saved_card
from heedful.training.token_windows import TextSplit, encode, marks_of, save_texts, split_documents

FIGURES = "held_out.json"
DOCUMENTS = "held_out_documents.jsonl"
"""Loss of each held-out document, in the order of ``held_out.jsonl``."""


def train_decoder(
    settings: RunSettings,
    documents: Documents,
    out: Path,
    *,
    tokenizer: Path | None = None,
    resume: bool = False,
    progress: Progress = lambda _step, _steps, _what: None,
    tell: Callable[[str], None] = lambda _line: None,
    callbacks: Sequence[TrainerCallback] = (),
    prepare: Callable[[Trainer], None] = lambda _trainer: None,
) -> dict[str, Any]:
    """Train or resume a run, write its folder, and return the numbers of ``held_out.json``, such as the held-out loss.

    The folder holds checkpoints of the Trainer, and at the end the model, its tokenizer, ``held_out.jsonl`` and
    ``held_out.json`` with the loss on it, ``held_out_documents.jsonl`` with that of each document; ``run.json`` says
    how the run was begun.

    Args:
        settings: The run.
        documents: The texts.
        out: The folder; empty or absent, or with ``resume`` that of a run that was begun with the same settings.
        tokenizer: Folder or file of a tokenizer; None to learn one from the training texts.
        resume: Go on after the last whole checkpoint.
        progress: Called after each step.
        tell: Called with a line now and then.
        callbacks: Further callbacks of the Trainer, an ``AttentionTracker`` say.
        prepare: Called with the Trainer before it trains, to give it an optimizer or callbacks of your own; a run that
            is gone on with must be given the same.

    Returns:
        The figures of ``held_out.json``.

    Raises:
        OutputError: The folder is not empty.
        UsageError: There is no run to go on with, or it was begun otherwise.
        InputRejected: The text is too little, or the tokenizer cannot be used.
        ResourceLimit: Model and optimiser would not fit in memory.
    """
    folder = RunFolder(out)
    split, tokenizer = split_documents(documents, settings.held_out, settings.seed), tokenizer or settings.tokenizer
    arguments = training_arguments(settings, out)
    with arguments.main_process_first(local=False):
        first = arguments.process_index == 0
        if first or resume:
            folder.check_begun() if resume else folder.check_free()
        if first and not resume:
            _lay_out(folder, settings, split, tokenizer, arguments.world_size)
        words = settings.marked(_tokenizer(tokenizer if resume and tokenizer is not None else out))
        folder.check_same(_facts(settings, split, words, arguments.world_size))
        if first:
            folder.discard_unfinished()
            with _begun(folder, resume):
                settings.prepare(split.training, words, out)
    start, notes = folder.verified_checkpoint()
    for note in notes if first else ():
        tell(note)
    with quiet_transformers():
        with _begun(folder, resume or not first):
            trainer = build_trainer(settings, arguments, split, words, ProgressCallback(progress, tell))
            for callback in (*settings.callbacks(trainer.model, words, out), *callbacks):
                trainer.add_callback(callback)
            if settings.track_every is not None:
                tracker = AttentionTracker(
                    out=out, every=settings.track_every, per_head=settings.tells_heads, write=tell
                )
                tracker.attach(trainer)
            prepare(trainer)
        try:
            _train(trainer, settings, start)
        finally:
            if first:
                folder.discard_unfinished()
        if first:
            return _finish(trainer, folder, split, words, settings)
        return _save(trainer, settings, out / "none")  # only the first writes


@contextmanager
def _begun(folder: RunFolder, kept: bool) -> Iterator[None]:
    """What fails here leaves an empty folder, unless it is to be kept: the next try may have other settings."""
    try:
        yield
    except BaseException:
        if not kept:
            folder.empty()
        raise


def _train(trainer: Trainer, settings: RunSettings, start: Path | None) -> None:
    """Train to the last step; a Trainer that goes on after it would take one step more."""
    if start is not None and step_of(start) >= settings.steps:
        model: Any = trainer.model
        model.load_state_dict(settings.model_class.from_pretrained(start).state_dict())
        return
    try:
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    except pickle.UnpicklingError as error:
        if start is None:
            raise
        message = f"a state that is no plain data: {reason(error)}"
        raise InputRejected(escaped(start), message, "go back to an earlier checkpoint: remove this one") from error


def _lay_out(folder: RunFolder, settings: RunSettings, split: TextSplit, tokenizer: Path | None, count: int) -> None:
    """Tokenizer and held-out text into the folder, the record last."""
    given = None if tokenizer is None else _tokenizer(tokenizer)
    words = settings.learnt_tokenizer(split.training) if given is None else settings.marked(given)
    marks_of(words)
    folder.make()
    with private_folder(folder.path) as made:
        words.save_pretrained(made)
        for file in sorted(made.iterdir()):
            move_in(file, folder.path)
    save_texts(folder.path / "held_out.jsonl", split.held_out)
    words = _tokenizer(folder.path)
    versions = {"torch": torch.__version__}
    folder.record(
        {**_facts(settings, split, words, count), "notes": [*split.notes, *settings.notes], "versions": versions}
    )


def _facts(settings: RunSettings, split: TextSplit, tokenizer: PreTrainedTokenizerFast, count: int) -> dict[str, Any]:
    """What must be the same when the run goes on."""
    words = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    return {"settings": settings.binding(), "text": split.fingerprint, "tokenizer": words, "processes": count}


def _tokenizer(place: Path) -> PreTrainedTokenizerFast:
    found, _ = load_tokenizer(place)
    if not isinstance(found, PreTrainedTokenizerFast):
        raise InputRejected(escaped(place), "expected a tokenizer.json, found none", "save it as a fast tokenizer")
    return found


def _save(trainer: Trainer, settings: RunSettings, place: Path) -> dict[str, Any]:
    """The model into a folder, by all processes: a sharded one is gathered."""
    model: Any = trainer.model
    model.config.use_cache = settings.caches  # training turned it off
    model.generation_config = GenerationConfig.from_model_config(model.config)
    trainer.save_model(str(place))
    return {}


def _finish(
    trainer: Trainer, folder: RunFolder, split: TextSplit, tokenizer: PreTrainedTokenizerFast, settings: RunSettings
) -> dict[str, Any]:
    """The model into the folder, and what it is worth on held-out text as it is loaded from there."""
    with private_folder(folder.path) as part:
        _save(trainer, settings, part)
        for file in sorted(part.iterdir()):
            if file.suffix != ".bin":  # the Trainer's arguments are a pickle, and name this machine's paths
                move_in(file, folder.path)
    write_atomic(folder.path / "README.md", saved_card(trainer.model, settings.name), overwrite=True)
    last = folder.last_checkpoint()
    if last is not None:
        state = read_small(last / STATE, STATE_BYTES, "the Trainer's state", follow=False)
        write_atomic(folder.path / STATE, state, overwrite=True)
    unseen = encode(tokenizer, (text for _, text in split.held_out))
    tokens = sum(map(len, unseen))
    model: Any = load_model(folder.path).model
    losses = document_losses(model, unseen, settings.tokens)
    loss = math.fsum(losses) / tokens if tokens else math.nan
    figures = {
        "steps": settings.steps,
        "parameters": model.num_parameters(),
        "trainable": sum(part.numel() for part in model.parameters() if part.requires_grad),
        "held_out_loss": loss,
        "unit": "nat/token",
        "bits_per_byte": loss / math.log(2) * tokens / split.held_out_bytes,
        "documents": len(split.held_out),
        "tokens": tokens,
        "window": settings.tokens,
    }
    rows = [
        {"id": name, "tokens": len(ids), "loss": total / len(ids) if ids else None}
        for (name, _), ids, total in zip(split.held_out, unseen, losses, strict=True)
    ]
    write_atomic(folder.path / DOCUMENTS, "".join(json.dumps(row) + "\n" for row in rows), overwrite=True)
    write_whole(folder.path / FIGURES, figures)
    return figures
