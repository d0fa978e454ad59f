"""Model, text and loss for measuring compression costs, and means over documents.

Compute losses with correct and with wrong labels from one forward per batch.

Rank correlations between statistics of heads or layers, with an interval from resampled documents and a p-value
from the number of heads or layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from heedful.compression.record import LabelLosses, RankCorrelation
from heedful.errors import InputRejected
from heedful.evaluation.batches import batch_of, batches_of
from heedful.evaluation.evidence import Array
from heedful.evaluation.objective import Objective, find_objective, is_causal_by_name
from heedful.evaluation.perturbation import future_leaks
from heedful.evaluation.running import device_of, nonfinite_entries, run_model, tensor_of
from heedful.evaluation.settings import Margins
from heedful.evaluation.study import PERTURBED
from heedful.evaluation.unit_values import document_fingerprints
from heedful.inference.correlation import spearman_over_units
from heedful.inference.interval import Interval
from heedful.inference.margin import equivalent
from heedful.inference.mean_interval import AT_LEAST_0, FEWEST_FOR_CLAIM, UNBOUNDED, Effect, mean_interval
from heedful.inference.multiplicity import holm
from heedful.inference.units import document_means, without_rounding
from heedful.loading.batch import Batch

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch


Progress = Callable[[int, int, str], None]

BATCH_TOKENS = 2048
"""Tokens that go through the model at once, as in a validation."""

LEAST_UNITS = FEWEST_FOR_CLAIM
"""Documents below which nothing is claimed, as in a validation."""


@dataclass(frozen=True)
class EvaluationContext:
    """Model, text and loss on which compression costs are measured.

    Attributes:
        model: The model, in evaluation mode while it is used.
        sequences: The text.
        batches: All of it, in order.
        objective: The loss.
        seed: Seed of every random choice.
        resamples: Bootstrap resamples.
        progress: Called with (done, total, what).
    """

    model: nn.Module
    sequences: TokenBatch
    batches: Sequence[Batch]
    objective: Objective
    seed: int
    resamples: int
    progress: Progress

    def ticker(self, total: int, what: str) -> Callable[[], None]:
        """Return a function to call after each of ``total`` steps, which updates the progress bar."""
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            self.progress(done, total, what)

        self.progress(0, total, what)
        return tick

    def units(self, values: Array) -> Array:
        """Average over the sequences of each document: ``(sequence, ...)`` to ``(document, ...)``."""
        return without_rounding(document_means(values, self.sequences.document.numpy()))

    def exact_units(self, values: Array) -> Array:
        """Average over each document's sequences without rounding; use it where differences of 1e-8 are real."""
        return np.asarray(document_means(values, self.sequences.document.numpy()))

    def effects(self, values: Array, within: tuple[ArrayLike, ArrayLike] = UNBOUNDED) -> list[Effect]:
        """Return the mean and interval over documents for each column of ``(sequence, column)`` values."""
        if not values.shape[1]:
            return []
        interval = mean_interval(self.exact_units(values), within=within)
        return [effect_of(interval.at(place)) for place in range(values.shape[1])]

    def effect(self, values: Array, within: tuple[float, float] = UNBOUNDED) -> Effect:
        """Return the mean and interval over documents of ``(sequence,)`` values."""
        return self.effects(values[:, None], within)[0]

    def loss_effect(self, values: Array) -> Effect:
        """Return mean and interval of loss differences ``(sequence,)``; rounding differences count as zero."""
        return effect_of(mean_interval(self.units(values)))

    def facts(self, name: str, notes: Sequence[str], layers: int, heads: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the facts on model and text that a report states, as two dicts."""
        first = next(self.model.parameters(), None)
        model = {
            "name": name or type(self.model).__name__,
            "class": type(self.model).__name__,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "layers": layers,
            "heads": heads,
            "dtype": str(first.dtype).removeprefix("torch.") if first is not None else "",
            "device": str(device_of(self.model)),
            "notes": list(notes),
        }
        text = self.sequences
        data = {
            "origin": text.origin,
            "documents": len(np.unique(text.document.numpy())),
            "sequences": int(text.input_ids.shape[0]),
            "sequence_length": int(text.input_ids.shape[1]),
            "tokens": int(text.attention_mask.sum()),
            "objective": self.objective.name,
            "fingerprint": text.fingerprint,
            "document_fingerprints": document_fingerprints(text),
            "notes": list(text.notes),
        }
        return model, data


def evaluation_context(
    model: nn.Module, sequences: TokenBatch, *, seed: int, resamples: int, progress: Progress
) -> EvaluationContext:
    """Create the context of a model and its text, with the loss that fits the model.

    Args:
        model: The model, in evaluation mode.
        sequences: The text.
        seed: Seed of every random choice.
        resamples: Bootstrap resamples.
        progress: Called with (done, total, what).

    Raises:
        InputRejected: Parameters are not finite, so that no price follows from them.
        ResourceLimit: A batch would not fit in memory.
    """
    broken = nonfinite_entries(model)
    if broken:
        name, count = next(iter(broken.items()))
        message = f"{count:,} entries of {name} are not finite"
        raise InputRejected(type(model).__name__, message, "heedful validate names them all")
    batches = batches_of(model, sequences, BATCH_TOKENS)
    with torch.no_grad():
        objective = find_objective(
            model,
            batches[0],
            hides_future=is_causal_by_name(model) or _hides_future(model, sequences),
            mask_token=sequences.mask_token,
            vocabulary=int(sequences.input_ids.max()) + 1,
            seed=seed,
        )
    return EvaluationContext(model, sequences, batches, objective, seed, resamples, progress)


def _hides_future(model: nn.Module, sequences: TokenBatch) -> bool:
    """Whether no output moves before a token that is changed."""
    batch = batch_of(sequences, torch.arange(min(PERTURBED, len(sequences.input_ids))), device_of(model))
    return all(leak.before <= Margins().leak for leak in future_leaks(model, batch))


def effect_of(interval: Interval) -> Effect:
    """Convert an interval of a single number to an ``Effect``."""
    return Effect(
        estimate=float(interval.estimate), low=float(interval.low), high=float(interval.high), n=int(interval.units)
    )


def verdict_on(effect: Effect | None, margin: float) -> str:
    """Return the verdict on a loss difference, from its whole interval and a margin.

    Args:
        effect: The difference in nats per token; None without a loss.
        margin: Size of a difference that counts.

    Returns:
        ``within``, ``costs``, ``helps``, ``not settled``, ``insufficient data`` or ``no loss``.
    """
    if effect is None:
        return "no loss"
    if effect.n < LEAST_UNITS or np.isnan(effect.low) or np.isnan(effect.high):
        return "insufficient data"
    if equivalent(Interval(effect.estimate, effect.low, effect.high, effect.n, 0.95), margin):
        return "within"
    if effect.low > margin:
        return "costs"
    return "helps" if effect.high < -margin else "not settled"


RIGHT, FED, SHUFFLED = 0, 1, 2
"""Columns of ``label_losses``."""


def label_losses(context: EvaluationContext, batches: Sequence[Batch], tick: Callable[[], None]) -> Array:
    """Return each sequence's loss with three sets of labels, ``(sequence, 3)``: correct labels, input tokens at the
    same positions, and shuffled correct labels.

    The right ones are the objective's: the next token, or the hidden one. The second are the tokens that were fed at
    the same positions. The third are the right ones in another order within each sequence, drawn from the seed and the
    sequence's index.

    Args:
        context: Model and loss.
        batches: What to run.
        tick: Called after each batch.

    Returns:
        ``(sequence, 3)`` in nats per token; NaN where a sequence predicts nothing.
    """
    parts = []
    with torch.no_grad():
        for batch in batches:
            ids, counted, right = context.objective.question(batch)
            logits = tensor_of(run_model(context.model, ids, batch.attention_mask), "logits")
            if logits is None:
                continue
            logits = logits[:, : right.shape[1]].float().transpose(1, 2)
            wrong = [ids[:, : right.shape[1]], _shuffled(right, counted, batch, context.seed)]
            found = [_mean_loss(logits, counted, labels) for labels in (right, *wrong)]
            parts.append(torch.stack(found, 1).double().cpu().numpy())
            tick()
    return np.concatenate(parts)


def judged_labels(context: EvaluationContext, losses: Array) -> LabelLosses:
    """Judge whether the model predicts the correct labels better than wrong ones.

    Args:
        context: Whose documents the sequences are of.
        losses: Those of ``label_losses``, on all sequences.
    """
    gaps = [context.loss_effect(losses[:, wrong] - losses[:, RIGHT]) for wrong in (FED, SHUFFLED)]
    answer = "yes" if all(gap.low > 0 for gap in gaps) else "no" if any(gap.high < 0 for gap in gaps) else "not settled"
    if not all(np.isfinite(gap.low) and np.isfinite(gap.high) for gap in gaps):
        answer = "insufficient data"
    right, fed, shuffled = context.effects(losses, AT_LEAST_0)
    return LabelLosses(right=right, fed=fed, shuffled=shuffled, answer=answer)


def _mean_loss(logits: Tensor, counted: Tensor, labels: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, labels, reduction="none").masked_fill(counted == 0, 0)
    number = counted.sum(1)
    return losses.sum(1) / number.masked_fill(number == 0, torch.nan)


def _shuffled(labels: Tensor, counted: Tensor, batch: Batch, seed: int) -> Tensor:
    found = labels.clone()
    for row, index in enumerate(batch.index.tolist()):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        places = counted[row].nonzero()[:, 0]
        found[row, places] = labels[row, places[torch.randperm(len(places), generator=generator).to(places.device)]]
    return found


@dataclass(frozen=True)
class Question:
    """Two statistics whose rank correlation over heads or layers is to be computed.

    Attributes:
        x: First property.
        y: Second property.
        under: Under which quantizer or ranking.
        first: ``(sequence, item)``.
        second: ``(sequence, item)``.
    """

    x: str
    y: str
    under: str
    first: Array
    second: Array


def rank_correlations(context: EvaluationContext, questions: Sequence[Question]) -> list[RankCorrelation]:
    """Return Spearman correlations of the document means of each pair of statistics.

    The interval is over documents, for these very items. Whether as much would come about among unrelated items is
    what p says: Student's t of the correlation with two degrees fewer than items, Holm over all questions. Source:
    Kendall and Stuart 1973, section 31.19.

    Args:
        context: Whose documents the sequences are of.
        questions: What to ask.
    """
    found = []
    for one in questions:
        first, second = context.exact_units(one.first), context.exact_units(one.second)
        interval = spearman_over_units(first, second, resamples=context.resamples, seed=context.seed)
        found.append((one, interval))
    raw = [_p(float(interval.estimate), one.first.shape[1]) for one, interval in found]
    adjusted = np.asarray(holm(np.array(raw))) if raw else np.array([])
    return [
        RankCorrelation(
            x=one.x,
            y=one.y,
            under=one.under,
            items=one.first.shape[1],
            estimate=float(interval.estimate),
            low=float(interval.low),
            high=float(interval.high),
            p=float(p),
        )
        for (one, interval), p in zip(found, adjusted, strict=True)
    ]


def _p(rho: float, items: int) -> float:
    from scipy.stats import t

    if math.isnan(rho) or items < 3:
        return math.nan
    if abs(rho) >= 1:
        return 2.0 / math.factorial(items) if items < 20 else 0.0
    return float(2 * t.sf(abs(rho) * math.sqrt((items - 2) / (1 - rho * rho)), items - 2))
