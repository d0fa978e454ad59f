"""Judge published claims on a folder of measurements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict
from reproductions.answer import Answer, answer_of
from reproductions.evidence import Measurements, NotMeasured
from reproductions.published import PublishedClaim


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A published claim with its answer and findings.

    Attributes:
        name: Name of the claim.
        note: Number of its note.
        section: Where in the note.
        sentence: What it says.
        figure: What was published for it.
        answer: The answer.
        findings: What it rests on, the deciding ones first.
    """

    name: str
    note: str
    section: str
    sentence: str
    figure: str
    answer: Answer
    findings: Sequence[Finding]


def judge(claims: Iterable[PublishedClaim], evidence: Measurements) -> list[Answered]:
    """Judge claims on measurements and return their answers.

    Args:
        claims: The claims.
        evidence: What was measured; a claim that asks for what is not in it is not tested.
    """
    return [_answered(claim, _findings(claim, evidence)) for claim in claims]


def _findings(claim: PublishedClaim, evidence: Measurements) -> Sequence[Finding]:
    if claim.judge is None:
        return [Finding(claim=claim.name, verdict=Verdict.SKIP, reason=claim.reason)]
    try:
        return claim.judge(evidence)
    except NotMeasured as missing:
        return [Finding(claim=claim.name, verdict=Verdict.SKIP, reason=f"{missing}.")]


def _answered(claim: PublishedClaim, findings: Sequence[Finding]) -> Answered:
    return Answered(
        name=claim.name,
        note=claim.note,
        section=claim.section,
        sentence=claim.sentence,
        figure=claim.figure,
        answer=answer_of(findings),
        findings=tuple(
            replace(finding, claim=finding.claim or claim.name, source=finding.source or claim.source)
            for finding in findings
        ),
    )
