"""Assertion that a model needs its attention: the loss must rise when attention is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from heedful.errors import UsageError
from heedful.evaluation.ablation import ARMS, Replacement, losses_under
from heedful.evaluation.ablation_judging import MEANINGS
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Margins
from heedful.evaluation.study import Study
from heedful.inference.margin import judge
from heedful.inference.skewness import skew_t
from heedful.inference.verdict import Verdict
from heedful.loading.given_sequences import Batches
from heedful.testing.judged import held, study_of

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenTokenizer

SOURCE = "paired loss difference in vivo, documents as units"


def assert_attention_used(
    model: nn.Module,
    batches: Batches,
    *,
    tokenizer: GivenTokenizer | None = None,
    replacement: str = "zero",
    margin: float = 0.01,
    least_documents: int = 16,
    seed: int = 0,
) -> Finding:
    """Assert that replacing attention in every layer raises the loss by more than ``margin``: the whole 95 % interval
    of the rise must lie above it.

    Reading: ``zero`` asks whether attention does anything, ``uniform`` whether its learned pattern does, ``mean``
    whether it does more than its position.

    Args:
        model: The model, with a language-model head.
        batches: Token ids ``(sequence, token)``, batches of them, or text (``as_sequences``); every sequence of ids
            counts as a document unless its document was named there.
        tokenizer: What reads text; it tells special tokens among ids.
        replacement: ``zero``, ``uniform``, ``local``, ``mean`` or ``shuffled``.
        margin: Rise of the loss in nats per token that counts as use.
        least_documents: Documents below which nothing is claimed.
        seed: Seed of the resamples.

    Returns:
        The finding, with the rise of the loss and its interval.

    Raises:
        AssertionError: The loss moves by less, it is not settled, documents are too few, or there is no loss.
        UsageError: The replacement does not exist or the margin is not positive.
    """
    __tracebackhide__ = True
    if replacement not in ARMS:
        raise UsageError(f"replacement: expected one of {', '.join(ARMS)}; got {replacement!r}")
    if not margin > 0:
        raise UsageError(f"margin: expected a positive number of nats per token, got {margin}")
    study = study_of(
        model, batches, tokenizer=tokenizer, seed=seed, least_units=least_documents, margins=Margins(loss=margin)
    )
    return held("attention is used", study, lambda study: [_judged(study, replacement)])


def _judged(study: Study, arm: str) -> Finding:
    if study.objective.name == "none":
        return Finding(claim="attention_used", verdict=Verdict.SKIP, reason=study.objective.reason)
    if len(study.sequences.input_ids) < 2:
        return Finding(
            claim="attention_used", verdict=Verdict.INSUFFICIENT, reason="1 sequence; a replacement needs at least 2"
        )
    (changed,) = losses_under(study.model, study.objective, study.batches, [Replacement(arm)], pool=study.pattern_pool)
    units = study.units(changed - study.loss)
    interval = skew_t(units)
    margin, count = study.settings.margins.loss, int(np.isfinite(units).sum())
    verdict, reason = judge(
        interval, present_above=margin, absent_below=margin, units=count, smallest=study.settings.least_units
    )
    return Finding(
        claim="attention_used",
        verdict=verdict,
        reason=f"{MEANINGS[arm]}: rise of the loss in nats per token {reason}",
        estimate=float(interval.estimate),
        interval=(float(interval.low), float(interval.high)),
        unit="nat/token",
        n=count,
        threshold=margin,
        source=SOURCE,
    )
