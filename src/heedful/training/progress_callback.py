"""Trainer callback that marks complete checkpoints and prints progress."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heedful.loading.run_files import WHOLE, parts_of
from heedful.training.run_folder import write_whole

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
