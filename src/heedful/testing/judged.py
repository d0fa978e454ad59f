"""Run a check as an assertion: a pass returns the finding; otherwise an AssertionError explains in one sentence why
the claim fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from heedful.distributed.ranks import ALONE
from heedful.distributed.sharded import refuse_unshared
from heedful.errors import CaptureError
from heedful.evaluation.result import Finding
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict
from heedful.interception.intercept import refuse_no_module
from heedful.loading.given_sequences import Batches, as_sequences

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenTokenizer

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
