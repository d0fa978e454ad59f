"""Assert that heads have not collapsed to uniform attention."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from torch import nn

from heedful.errors import UsageError
from heedful.evaluation.heads import head_table
from heedful.evaluation.result import Finding, HeadRow
from heedful.evaluation.settings import Margins
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict
from heedful.loading.given_sequences import Batches
from heedful.testing.judged import held, study_of

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenTokenizer

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
