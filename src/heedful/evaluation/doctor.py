"""Deprecated ``heedful.doctor``, the former name of ``heedful.check``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from heedful.evaluation.model_and_text import Reading, model_and_text

if TYPE_CHECKING:
    from heedful.contract.record import ContractReport
    from heedful.evaluation.model_and_text import GivenModel, GivenSequences
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer

SHOWN = 2
"""Sequences that the model sees; proofs do not get better by more."""


def doctor(
    model: GivenModel = None,
    sequences: GivenSequences = None,
    text: GivenText | Batches | None = None,
    *,
    tokenizer: GivenTokenizer | None = None,
    **reading: Any,
) -> ContractReport:
    """Deprecated name of ``heedful.check``: emits a warning and calls it.

    Args:
        model: As for ``heedful.validate``.
        sequences: As for ``heedful.validate``; the first two are read.
        text: As for ``heedful.validate``.
        tokenizer: Where it is not the model's own.
        **reading: The other words of ``heedful.validate`` that say how a model is loaded.

    Returns:
        The report; ``proofs``, ``captured`` and ``proved`` say how its modules are captured.

    Raises:
        UsageError: Words do not go together.
        CaptureError: No attention call of the model was captured.

    Example:
        >>> import heedful, warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", DeprecationWarning)
        ...     heedful.doctor(seq_len=16).proved
        4
    """
    from heedful.contract.check import check
    from heedful.contract.running import text_keywords
    from heedful.evaluation.running import device_of

    message = "heedful.doctor is now heedful.check(model, batch): report.proofs, report.captured, report.proved"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    found = model_and_text(model, sequences, text, tokenizer, Reading(wanted=SHOWN, **reading))
    where = device_of(found.model)
    ids, mask = (tensor[:SHOWN].to(where) for tensor in (found.sequences.input_ids, found.sequences.attention_mask))
    return check(found.model, text_keywords(found.model, ids, mask), tokenizer=found.tokenizer)
