"""Build the Trainer of a run: arguments, model, windows.

Trainer callback that marks complete checkpoints and prints progress.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from heedful.errors import InputRejected, UsageError
from heedful.loading.memory import ensure_fits
from heedful.loading.run_files import WHOLE, parts_of
from heedful.loading.wording import reason
from heedful.training.max_share_penalty import PenalisedTrainer, TableTrainer
from heedful.training.run_folder import write_whole
from heedful.training.run_settings import RunSettings
from heedful.training.token_windows import PackedWindows, TextSplit, document_windows, encode, marks_of

WATCHED = 64
"""Most held-out windows of the curve; the last figure is of all held-out text."""

_BYTES_A_PARAMETER = 16
"""Weight, gradient and AdamW's two moments, float32 each."""


def training_arguments(settings: RunSettings, out: Path) -> TrainingArguments:
    """Return the Trainer arguments of a run.

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
            ddp_find_unused_parameters=False,  # every parameter that is trained is used in every step
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
    watch: ProgressCallback,
) -> Trainer:
    """Return the Trainer of a run: a seeded untrained model, packed training windows, held-out windows.

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
    model = settings.model(config, split.training, tokenizer, Path(str(arguments.output_dir)))
    texts = encode(tokenizer, split.training)
    unseen = encode(tokenizer, (text for _, text in split.held_out))
    windows = (w for document in unseen for w in document_windows(document, settings.tokens, marks.begin))
    watched = [{"input_ids": w, "labels": w} for w in windows if len(w) == settings.tokens][:WATCHED]
    try:
        packed = PackedWindows(texts, settings.tokens, marks.begin, marks.end, settings.seed)
    except ValueError as error:
        raise InputRejected("text", str(error), "give more text, or a smaller --length") from error
    if not watched:
        message = f"no held-out document of {settings.tokens} tokens"
        raise InputRejected("text", message, "give more or longer text, or a smaller --length")
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
    trainer.gain_weight_decay = settings.gain_weight_decay
    trainer.remove_callback(PrinterCallback)
    return trainer


Progress = Callable[[int, int, str], None]


class ProgressCallback(TrainerCallback):
    """Marks each checkpoint when it is complete, and prints losses.

    Args:
        progress: Called as ``progress(step, steps, what)`` after each step.
        tell: Called with a line at each evaluation.
    """

    def __init__(self, progress: Progress, tell: Callable[[str], None]) -> None:
        self.progress, self.tell = progress, tell
        self.loss = ""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark a checkpoint as complete by writing a file that lists size and hash of every file in it, after all
        processes have saved.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            write_whole(folder / WHOLE, {"step": state.global_step, "parts": parts_of(folder)})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Print a training or evaluation loss."""
        if logs and "loss" in logs:
            self.loss = f"loss {logs['loss']:.3f}"
        if logs and "eval_loss" in logs and state.is_world_process_zero:
            seen = f"{self.loss}, " if self.loss else ""
            self.tell(
                f"step {state.global_step} of {state.max_steps}: {seen}held out {logs['eval_loss']:.3f} nat/token"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Update the progress after each step."""
        if state.is_world_process_zero:
            self.progress(state.global_step, state.max_steps, f"training, {self.loss}" if self.loss else "training")
