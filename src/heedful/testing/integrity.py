"""Assert that attention is computed correctly: exact properties that hold for any text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from heedful.contract.record import Contract
from heedful.evaluation.checks.attention_is_finite import attention_is_finite
from heedful.evaluation.checks.capture_matches_output import capture_matches_output
from heedful.evaluation.checks.future_is_unseen import future_is_unseen
from heedful.evaluation.checks.gradients_reach_attention import gradients_reach_attention
from heedful.evaluation.checks.rows_sum_to_one import rows_sum_to_one
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict
from heedful.loading.given_sequences import Batches, as_sequences
from heedful.testing.contract import promised
from heedful.testing.judged import held, study_of

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
