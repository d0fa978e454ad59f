"""Track trained embeddings: how far they moved, and whether attention still agrees with the counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars
import torch
from transformers import PreTrainedTokenizerFast, TrainerCallback

from heedful.loading.documents import load_documents
from heedful.loading.sequences import TokenBatch, make_sequences
from heedful.ngrams.alignment.count_alignment import align
from heedful.ngrams.counting.reading import read_counts
from heedful.ngrams.derivation.model.linking import relink
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.derivation.table import stored_table
from heedful.reporting.write import write_atomic

DRIFT = "drift.csv"
SEQUENCES = 16
"""Held-out sequences that alignment is read on."""

RESAMPLES = 200
"""Of the intervals over their documents."""

_SCHEMA = {
    "step": polars.Int64, "layer": polars.Int64, "head": polars.Int64, "n": polars.Int64, "skip": polars.Int64,
    "relative_change": polars.Float64, "cosine": polars.Float64, "divergence": polars.Float64,
    "uniform": polars.Float64, "skill": polars.Float64, "skill_low": polars.Float64, "skill_high": polars.Float64,
}  # fmt: skip


class Relinking(TrainerCallback):
    """Trainer callback that recomputes attention for the current embeddings every N steps and at the end.

    Args:
        every: Steps between two.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Recompute attention before the step is saved, so that a resumed run has identical matrices."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            relink(given["model"])


def drift(rows: torch.Tensor, begun: torch.Tensor) -> tuple[float, float]:
    r"""Return the relative change of embeddings and the mean cosine with their initial values.

    .. math:: \|E - E_0\|_F / \|E_0\|_F, \qquad \operatorname{mean}_t \cos(E_t, E_{0,t})

    Args:
        rows: ``(vocabulary, width)`` as they are.
        begun: ``(vocabulary, width)`` as they were.

    Returns:
        Relative change, and mean cosine; NaN where they were 0.
    """
    now, before = rows.detach().double().cpu(), begun.double()
    change = torch.linalg.norm(now - before) / torch.linalg.norm(before)
    return float(change), float(torch.nn.functional.cosine_similarity(now, before, dim=-1).mean())


class EmbeddingDrift(TrainerCallback):
    """Trainer callback that writes embedding drift and attention skill, one row per head, every N steps.

    Skill is ``1 - KL(expected, actual) / KL(expected, uniform)`` on held-out sequences, expected from the counts that
    the head's recipe names: 1 where attention is what they predict, 0 where it is no better than uniform attention.

    Args:
        model: The model before its first step.
        tokenizer: Its tokenizer.
        counts: Folder of counts.
        recipe: What it is derived by.
        out: Folder of the run; ``drift.csv`` is written there, whole at each record.
        every: Steps between two records; the begin and the last step are recorded too.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerFast,
        counts: Path,
        recipe: DerivationRecipe,
        out: Path,
        every: int,
    ) -> None:
        self.begun = model.get_input_embeddings().weight.detach().clone().cpu()
        self.path, self.every, self.recipe = out / DRIFT, every, recipe
        self.length = model.config.max_position_embeddings
        self.tokenizer, self.held_out, self.counts = tokenizer, out / "held_out.jsonl", counts
        self.rows: list[dict[str, Any]] = []
        self._sequences: TokenBatch | None = None
        self._tables: dict[tuple[int, int], Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the initial state, or continue after the resumed step's records."""
        if not state.is_world_process_zero:
            return
        stored = read_counts(self.counts)
        wanted = {
            self._speaks_of(layer, head) for layer in range(self.recipe.layers) for head in range(self.recipe.heads)
        }
        self._tables = {pair: stored_table(stored, *pair) for pair in sorted(wanted)}
        self._sequences = make_sequences(
            load_documents([self.held_out]), self.tokenizer, seq_len=self.length, sequences=SEQUENCES, seed=0
        )
        if state.global_step and self.path.is_file():
            earlier = polars.read_csv(self.path, schema=_SCHEMA)
            self.rows = earlier.filter(polars.col("step") <= state.global_step).to_dicts()
        else:
            self._record(given["model"], state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the step if it is due, after attention was recomputed."""
        last = state.global_step == state.max_steps
        if state.is_world_process_zero and (last or state.global_step % self.every == 0):
            self._record(given["model"], state.global_step)

    def _speaks_of(self, layer: int, head: int) -> tuple[int, int]:
        """Context and skip of the counts that a head's attention is expected from."""
        context, skip = self.recipe.context(layer), self.recipe.skip(head)
        return (context, skip) if (context, skip) in self.recipe.wanted() else (1, skip)

    def _record(self, model: Any, step: int) -> None:
        if self._sequences is None:
            return
        change, cosine = drift(model.get_input_embeddings().weight, self.begun)
        found = align(model, self._sequences, self._tables, resamples=RESAMPLES)
        for head in found.heads:
            if (head.n, head.skip) != self._speaks_of(head.layer, head.head):
                continue
            nats = head.divergence.estimate, head.uniform.estimate
            skill = head.skill.estimate, head.skill.low, head.skill.high
            words = (step, head.layer, head.head, head.n, head.skip, change, cosine)
            self.rows.append(dict(zip(_SCHEMA, (*words, *nats, *skill), strict=True)))
        write_atomic(self.path, polars.DataFrame(self.rows, schema=_SCHEMA).write_csv(), overwrite=True)
