"""Assert that attention is computed correctly: exact properties that hold for any text.

Assert that heads have not collapsed to uniform attention.

Assertion that a model needs its attention: the loss must rise when attention is replaced.

Run a check as an assertion: a pass returns the finding; otherwise an AssertionError explains in one sentence why
the claim fails.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from heedful.contract.record import Contract
from heedful.distributed.ranks import ALONE
from heedful.distributed.sharded import refuse_unshared
from heedful.errors import CaptureError, UsageError
from heedful.evaluation.ablation import ARMS, Replacement, losses_under
from heedful.evaluation.ablation_judging import MEANINGS
from heedful.evaluation.checks.attention_is_finite import attention_is_finite
from heedful.evaluation.checks.capture_matches_output import capture_matches_output
from heedful.evaluation.checks.future_is_unseen import future_is_unseen
from heedful.evaluation.checks.gradients_reach_attention import gradients_reach_attention
from heedful.evaluation.checks.rows_sum_to_one import rows_sum_to_one
from heedful.evaluation.heads import head_table
from heedful.evaluation.result import Finding, HeadRow
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Margins, Settings
from heedful.evaluation.study import Study
from heedful.inference.margin import judge
from heedful.inference.skewness import skew_t
from heedful.inference.verdict import Verdict
from heedful.interception.intercept import refuse_no_module
from heedful.loading.given_sequences import Batches, as_sequences
from heedful.testing.contract import promised

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenTokenizer


def assert_causal(model: nn.Module, batches: Batches, *, tokenizer: GivenTokenizer | None = None) -> Finding:
    """Assert that no query sees a later key: the kernel's mask hides later keys, and changing a later token leaves
    earlier outputs unchanged.

    Pitfall: a model whose output no token can move passes by its masks alone.

    Args:
        model: The model.
        batches: Token ids ``(sequence, token)``, batches of them, or text (``as_sequences``); a mapping with more than
            ids and mask (``position_ids``, say) goes to the model as it is.
        tokenizer: What reads text; it tells special tokens among ids.

    Returns:
        The finding, with the largest change of an earlier output, relative to the largest.

    Raises:
        AssertionError: A mask shows a later key, a later token moves an earlier output, or it cannot be judged.
    """
    __tracebackhide__ = True
    if isinstance(batches, Mapping) and set(batches) - {"input_ids", "attention_mask", "labels"}:
        return _causal_as_given(model, batches)
    sequences = as_sequences(batches, tokenizer=tokenizer)
    if sequences.input_ids.shape[1] < 2:
        raise AssertionError("attention is causal: undefined: a sequence of one token has no future (give 2 or more)")
    return held("attention is causal", study_of(model, sequences, causal=True), future_is_unseen)


def _causal_as_given(model: nn.Module, batch: Mapping[str, Any]) -> Finding:
    """The same of a whole batch, every key of which reaches the model."""
    __tracebackhide__ = True
    report = promised("attention is causal", model, batch, ("direction",), contract=Contract(direction="causal"))
    return Finding(
        claim="future_is_unseen",
        verdict=Verdict.PASS,
        reason=f"no kernel shows a later key, and no earlier output moved ({report.forwards} forwards)",
        estimate=0.0,
        unit="relative change",
        null="exact: 0",
    )


def assert_rows_sum_to_one(model: nn.Module, batches: Batches, *, tokenizer: GivenTokenizer | None = None) -> Finding:
    """Assert that the kernel's weights of each query sum to one, minus the share of a learned sink.

    Args:
        model: The model.
        batches: Token ids ``(sequence, token)``, batches of them, or text (``as_sequences``).
        tokenizer: What reads text; it tells special tokens among ids.

    Returns:
        The finding, with the largest deviation.

    Raises:
        AssertionError: A row is off by more than rounding, or it cannot be judged.
    """
    __tracebackhide__ = True
    return held("rows sum to one", study_of(model, batches, tokenizer=tokenizer), rows_sum_to_one)


def assert_finite(model: nn.Module, batches: Batches, *, tokenizer: GivenTokenizer | None = None) -> Finding:
    """Assert that no parameter, logit or attention weight is NaN or infinite.

    Args:
        model: The model.
        batches: Token ids ``(sequence, token)``, batches of them, or text (``as_sequences``).
        tokenizer: What reads text; it tells special tokens among ids.

    Returns:
        The finding, with the number of rows that are not finite.

    Raises:
        AssertionError: Some are, or no attention was met.
    """
    __tracebackhide__ = True
    return held("attention is finite", study_of(model, batches, tokenizer=tokenizer), attention_is_finite)


def assert_gradients_reach_attention(
    model: nn.Module, batches: Batches, *, tokenizer: GivenTokenizer | None = None
) -> Finding:
    """Assert that a backward pass gives every trainable attention parameter a finite, nonzero gradient.

    Args:
        model: The model; its ``.grad`` stay as they are.
        batches: Token ids ``(sequence, token)``, batches of them, or text (``as_sequences``); the first is used.
        tokenizer: What reads text; it tells special tokens among ids.

    Returns:
        The finding, with the share of parameters reached.

    Raises:
        AssertionError: A parameter gets none, all are frozen, or the model has no loss.
    """
    __tracebackhide__ = True
    return held("gradients reach attention", study_of(model, batches, tokenizer=tokenizer), gradients_reach_attention)


def assert_capture_matches(model: nn.Module, batches: Batches, *, tokenizer: GivenTokenizer | None = None) -> Finding:
    """Assert that outputs recomputed from captured attention calls equal the module's own outputs.

    Args:
        model: The model.
        batches: Token ids ``(sequence, token)``, batches of them, or text (``as_sequences``).
        tokenizer: What reads text; it tells special tokens among ids.

    Returns:
        The finding, with the largest relative error.

    Raises:
        AssertionError: A layer puts out something else than its call gives, or no attention was met.
    """
    __tracebackhide__ = True
    return held("the capture matches the output", study_of(model, batches, tokenizer=tokenizer), capture_matches_output)


SOURCE = "heads within 0.05 nats of uniform over visible keys, by whole intervals over documents"


def assert_not_collapsed(
    model: nn.Module,
    batches: Batches,
    *,
    tokenizer: GivenTokenizer | None = None,
    most: float = 0.5,
    margin: float = 0.05,
    least_documents: int = 16,
    seed: int = 0,
) -> Finding:
    """Assert that at most a given share of heads attend almost uniformly to all visible keys.

    A head counts as collapsed where the whole 95 % interval of its distance from uniform lies below the margin.
    Pitfall: says nothing of heads that are sharp and useless; ``assert_attention_used`` does.

    Args:
        model: The model.
        batches: Token ids ``(sequence, token)`` of 9 tokens or more, batches of them, or text (``as_sequences``).
        tokenizer: What reads text; it tells special tokens among ids.
        most: Largest share of collapsed heads that passes, 0 to below 1.
        margin: Nats from uniform below which a head is collapsed.
        least_documents: Documents below which nothing is claimed.
        seed: Seed of the resamples.

    Returns:
        The finding, with the share of collapsed heads.

    Raises:
        AssertionError: More heads have collapsed, documents are too few, or no head can be judged.
        UsageError: ``most`` or ``margin`` is out of range.
    """
    __tracebackhide__ = True
    if not 0.0 <= most < 1.0:
        raise UsageError(f"most: expected a share from 0 to below 1, got {most}")
    if not 0.0 < margin < Margins().selective:
        raise UsageError(f"margin: expected nats between 0 and {Margins().selective}, got {margin}")
    study = study_of(
        model, batches, tokenizer=tokenizer, seed=seed, least_units=least_documents, margins=Margins(diffuse=margin)
    )
    return held("heads have not collapsed", study, lambda study: [_judged(study, most)])


def _judged(study: Study, most: float) -> Finding:
    if study.n_documents < study.settings.least_units:
        message = f"{study.n_documents} documents, at least {study.settings.least_units} are needed"
        return Finding(claim="not_collapsed", verdict=Verdict.INSUFFICIENT, reason=message)
    rows = head_table(study)
    counts = Counter(row.verdict for row in rows)
    known = len(rows) - counts["UNDEFINED"]
    if not known:
        return Finding(claim="not_collapsed", verdict=Verdict.UNDEFINED, reason=rows[0].reason)
    share = counts["DIFFUSE"] / known
    margin = study.settings.margins.diffuse
    return Finding(
        claim="not_collapsed",
        verdict=Verdict.PASS if share <= most else Verdict.FAIL,
        reason=f"{counts['DIFFUSE']} of {known} heads are within {margin:g} nats of uniform over "
        f"{study.n_documents} documents{_named(rows)}",
        estimate=share,
        unit="share of heads",
        n=study.n_documents,
        threshold=most,
        source=SOURCE,
    )


def _named(rows: list[HeadRow]) -> str:
    names = [f"L{row.layer}H{row.head}" for row in rows if row.verdict == "DIFFUSE"]
    return f": {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else ""


USE_SOURCE = "paired loss difference in vivo, documents as units"


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
    return held("attention is used", study, lambda study: [_judged_use(study, replacement)])


def _judged_use(study: Study, arm: str) -> Finding:
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
        source=USE_SOURCE,
    )


NOT_JUDGED = (Verdict.SKIP, Verdict.UNDEFINED, Verdict.INSUFFICIENT)


def study_of(model: nn.Module, batches: Batches, *, tokenizer: GivenTokenizer | None = None, **options: Any) -> Study:
    """Return a study of the batches, without null models.

    Args:
        model: The model.
        batches: As for ``as_sequences``.
        tokenizer: As for ``as_sequences``.
        **options: Fields of ``Settings``.

    Raises:
        UsageError: The model is no module, or it is divided over processes, each of which would judge its own part.
    """
    refuse_no_module("model", model)
    refuse_unshared(model, ALONE)
    settings = Settings(**{"preset": "quick", "null_models": 0, **options})
    return Study(model, as_sequences(batches, tokenizer=tokenizer), settings)


def held(claim: str, study: Study, judge: Callable[[Study], Sequence[Finding]]) -> Finding:
    """Run one check on a study's model and return the finding if it passed; otherwise raise AssertionError.

    Args:
        claim: What the assertion says, for its message ("the future is unseen").
        study: What is judged.
        judge: The check.

    Raises:
        AssertionError: The finding is anything but PASS, or no attention could be met.
    """
    __tracebackhide__ = True
    try:
        with evaluating(study.model):
            found = judge(study)[0]
    except CaptureError as error:
        raise AssertionError(f"{claim}: could not be judged: {error}") from error
    if found.verdict is Verdict.PASS:
        return found
    raise AssertionError(message(claim, found))


def message(claim: str, found: Finding) -> str:
    """Return one sentence: the claim, why it does not hold, and the numbers."""
    words = {Verdict.INSUFFICIENT: "insufficient data", Verdict.UNDEFINED: "undefined", Verdict.SKIP: "not judged"}
    summary = words.get(found.verdict, "not shown" if found.verdict is Verdict.WARN else "does not hold")
    return f"{claim}: {summary}: {found.reason}{_numbers(found)}"


def _numbers(found: Finding) -> str:
    """The estimate beside its limit, where the reason does not carry it."""
    if found.verdict in NOT_JUDGED or found.estimate is None or math.isnan(found.estimate):
        return ""
    limit = "" if found.threshold is None else f", limit {found.threshold:.3g}"
    return f" ({found.estimate:.3g} {found.unit}{limit})"
