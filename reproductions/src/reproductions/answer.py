"""The possible answers to a published claim, and how findings combine into an answer."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict


class Answer(StrEnum):
    """Answer to a published claim, such as reproduced or refuted."""

    REPRODUCED = "reproduced"
    REFUTED = "refuted"
    OPEN = "not settled"
    UNTESTED = "not tested"


OF_VERDICT = {
    Verdict.PASS: Answer.REPRODUCED,
    Verdict.ABSENT: Answer.REFUTED,
    Verdict.INSUFFICIENT: Answer.OPEN,
    Verdict.SKIP: Answer.UNTESTED,
}
"""Verdict of a finding to the answer it gives; a finding that is INFO stands beside and gives none."""


def answer_of(findings: Sequence[Finding]) -> Answer:
    """Return the answer to a claim from the findings on its parts.

    One part refuted refutes the claim; all parts must be reproduced for it to be; a claim none of whose parts was
    tested is not tested; anything else is not settled.

    Args:
        findings: Those of the claim.

    Raises:
        ValueError: A finding has a verdict that is no answer, or none gives one.
    """
    parts = [finding.verdict for finding in findings if finding.verdict != Verdict.INFO]
    unknown = sorted({str(verdict) for verdict in parts} - {str(verdict) for verdict in OF_VERDICT})
    if unknown or not parts:
        message = f"got {', '.join(unknown)}" if unknown else "got no finding that answers"
        raise ValueError(f"verdicts of a claim: expected {', '.join(OF_VERDICT)}, {message}")
    given = {OF_VERDICT[verdict] for verdict in parts}
    if Answer.REFUTED in given:
        return Answer.REFUTED
    return given.pop() if len(given) == 1 else Answer.OPEN
