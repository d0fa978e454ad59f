"""One training run of a reference model on the transformers Trainer, from texts to a folder that loads."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME

from heedful.core.errors import InputRejected, UsageError
from heedful.loading import Documents, ensure_fits, load_model
from heedful.loading.quiet import quiet_transformers
from heedful.loading.tokenizer_files import load_tokenizer
from heedful.loading.wording import escaped, reason
from heedful.training.held_out_figures import held_out_loss
from heedful.training.max_share_penalty import PenalisedTrainer
from heedful.training.run_folder import RunFolder, step_of, write_whole
from heedful.training.run_settings import RunSettings
from heedful.training.table_trainer import TableTrainer
from heedful.training.text_split import TextSplit, split_documents
from heedful.training.token_windows import (
    PackedWindows,
    build_tokenizer,
    document_windows,
    encode,
    marks_of,
    save_texts,
)
from heedful.training.tracker import AttentionTracker
from heedful.training.watch import Progress, Watch

WATCHED = 64
"""Most held-out windows of the curve; the last figure is of all held-out text."""

FIGURES = "held_out.json"
_BYTES_A_PARAMETER = 16
"""Weight, gradient and AdamW's two moments, float32 each."""


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
    """Train, or go on training, and write the folder.

    The folder holds checkpoints of the Trainer, and at the end the model, its tokenizer, ``held_out.jsonl`` and
    ``held_out.json`` with the loss on it; ``run.json`` says how the run was begun.

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
    split = split_documents(documents, settings.held_out, settings.seed)
    arguments = training_arguments(settings, out)
    with arguments.main_process_first(local=False):
        first = arguments.process_index == 0
        if first or resume:
            folder.check_begun() if resume else folder.check_free()
        if first and not resume:
            _lay_out(folder, settings, split, tokenizer, arguments.world_size)
        words = _tokenizer(tokenizer if resume and tokenizer is not None else out)
        folder.check_same(_facts(settings, split, words, arguments.world_size))
        if first:
            folder.discard_unfinished()
    start = folder.last_checkpoint()
    with quiet_transformers():
        try:
            trainer = build_trainer(settings, arguments, split, words, Watch(progress, tell))
            for callback in callbacks:
                trainer.add_callback(callback)
            if settings.track_every is not None:
                trainer.add_callback(AttentionTracker(out=out, every=settings.track_every, write=tell))
            prepare(trainer)
        except BaseException:
            if first and not resume:
                folder.empty()  # nothing was begun: the next try may have other settings
            raise
        try:
            _train(trainer, settings, start)
        finally:
            if first:
                folder.discard_unfinished()
        return _finish(trainer, folder, split, words, settings) if first else _save(trainer, out)


def _train(trainer: Trainer, settings: RunSettings, start: Path | None) -> None:
    """Train to the last step; a Trainer that goes on after it would take one step more."""
    if start is not None and step_of(start) >= settings.steps:
        model: Any = trainer.model
        model.load_state_dict(settings.model_class.from_pretrained(start).state_dict())
    else:
        trainer.train(resume_from_checkpoint=None if start is None else str(start))


def training_arguments(settings: RunSettings, out: Path) -> TrainingArguments:
    """The Trainer's words for a run.

    Args:
        settings: The run.
        out: Its folder.

    Raises:
        UsageError: The Trainer does not take them.
    """
    try:
        return TrainingArguments(
            output_dir=str(out),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch,
            gradient_accumulation_steps=settings.accumulation,
            **_checkpointing(settings.gradient_checkpointing),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            adam_beta2=0.98,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, round(settings.warmup_share * settings.steps)),
            bf16=settings.precision == "bfloat16",
            eval_strategy="steps",
            eval_steps=settings.every,
            logging_steps=settings.every,
            save_strategy="steps",
            save_steps=settings.every,
            save_total_limit=settings.kept,
            prediction_loss_only=True,
            disable_tqdm=True,
            report_to=list(settings.trackers) or "none",
            use_cpu=settings.device == "cpu",
            ddp_backend="gloo" if settings.device == "cpu" and int(os.environ.get("WORLD_SIZE", 1)) > 1 else None,
            ddp_find_unused_parameters=False,  # every parameter of the decoder is used in every step
            seed=settings.seed,
        )
    except (ValueError, ImportError, RuntimeError) as error:
        raise UsageError(f"training: {reason(error)}") from error


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """Gradient checkpointing under the name that the installed transformers has for it."""
    names = TrainingArguments.__dataclass_fields__
    return {"activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing": wanted}


def build_trainer(
    settings: RunSettings,
    arguments: TrainingArguments,
    split: TextSplit,
    tokenizer: PreTrainedTokenizerFast,
    watch: Watch,
) -> Trainer:
    """The Trainer of a run: an untrained model of the run's seed, packed windows, whole held-out windows.

    Args:
        settings: The run.
        arguments: The Trainer's words for it.
        split: The texts.
        tokenizer: Their tokenizer.
        watch: What happens beside.

    Raises:
        InputRejected: The text is too little for two windows.
        UsageError: A tracker is not installed.
    """
    marks = marks_of(tokenizer)
    config = settings.config(len(tokenizer), marks.begin, marks.end, tokenizer.pad_token_id)
    with torch.device("meta"):
        wanted = settings.model_class(config).num_parameters() * _BYTES_A_PARAMETER
    ensure_fits(wanted, f"{settings.name}: weights, gradients and optimiser", hint="take a smaller model")
    set_seed(settings.seed)
    model = settings.model_class(config)
    texts = encode(tokenizer, split.training)
    unseen = encode(tokenizer, (text for _, text in split.held_out))
    windows = (w for document in unseen for w in document_windows(document, settings.tokens, marks.begin))
    watched = [{"input_ids": w, "labels": w} for w in windows if len(w) == settings.tokens][:WATCHED]
    try:
        packed = PackedWindows(texts, settings.tokens, marks.begin, marks.end, settings.seed)
    except ValueError as error:
        raise InputRejected("text", str(error), "give more text, or a smaller --length") from error
    if not watched:
        told = f"no held-out document of {settings.tokens} tokens"
        raise InputRejected("text", told, "give more or longer text, or a smaller --length")
    kept: dict[str, Any] = {
        "model": model,
        "args": arguments,
        "train_dataset": packed,
        "eval_dataset": watched,
        "callbacks": [watch],
    }
    weight = settings.max_share_penalty
    try:
        trainer = PenalisedTrainer(weight, **kept) if weight else TableTrainer(**kept)
    except (ImportError, RuntimeError, ValueError) as error:
        raise UsageError(f"training: {reason(error)}") from error
    trainer.remove_callback(PrinterCallback)
    return trainer


def _lay_out(folder: RunFolder, settings: RunSettings, split: TextSplit, tokenizer: Path | None, count: int) -> None:
    """Tokenizer and held-out text into the folder, the record last."""
    given = None if tokenizer is None else _tokenizer(tokenizer)
    words = build_tokenizer(split.training, settings.words, settings.tokens) if given is None else given
    marks_of(words)
    folder.make()
    words.save_pretrained(folder.path)
    save_texts(folder.path / "held_out.jsonl", split.held_out)
    words = _tokenizer(folder.path)
    versions = {"torch": torch.__version__}
    folder.record({**_facts(settings, split, words, count), "notes": split.notes, "versions": versions})


def _facts(settings: RunSettings, split: TextSplit, tokenizer: PreTrainedTokenizerFast, count: int) -> dict[str, Any]:
    """What must be the same when the run goes on."""
    words = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    return {"settings": settings.binding(), "text": split.fingerprint, "tokenizer": words, "processes": count}


def _tokenizer(place: Path) -> PreTrainedTokenizerFast:
    found, _ = load_tokenizer(place)
    if not isinstance(found, PreTrainedTokenizerFast):
        raise InputRejected(escaped(place), "expected a tokenizer.json, found none", "save it as a fast tokenizer")
    return found


def _save(trainer: Trainer, out: Path) -> dict[str, Any]:
    """The model beside its place, by all processes: a sharded one is gathered."""
    model: Any = trainer.model
    model.config.use_cache = True  # training turned it off
    model.generation_config = GenerationConfig.from_model_config(model.config)
    trainer.save_model(str(out / ".part"))
    return {}


def _finish(
    trainer: Trainer, folder: RunFolder, split: TextSplit, tokenizer: PreTrainedTokenizerFast, settings: RunSettings
) -> dict[str, Any]:
    """The model into the folder, and what it is worth on held-out text as it is loaded from there."""
    part = folder.path / ".part"
    _save(trainer, folder.path)
    for file in sorted(part.iterdir()):
        if file.suffix != ".bin":  # the Trainer's arguments are a pickle, and name this machine's paths
            os.replace(file, folder.path / file.name)
    shutil.rmtree(part)
    last = folder.last_checkpoint()
    if last is not None:
        shutil.copyfile(last / TRAINER_STATE_NAME, folder.path / TRAINER_STATE_NAME)
    unseen = encode(tokenizer, (text for _, text in split.held_out))
    tokens = sum(map(len, unseen))
    model: Any = load_model(folder.path).model
    loss = held_out_loss(model, unseen, settings.tokens)
    figures = {
        "steps": settings.steps,
        "parameters": model.num_parameters(),
        "held_out_loss": loss,
        "unit": "nat/token",
        "bits_per_byte": loss / math.log(2) * tokens / split.held_out_bytes,
        "documents": len(split.held_out),
        "tokens": tokens,
        "window": settings.tokens,
    }
    write_whole(folder.path / FIGURES, figures)
    return figures
