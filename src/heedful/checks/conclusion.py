"""Counts, multiplicity, and a conclusion that follows from four questions and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from heedful.core.result import Finding, HeadRow, Section, Verdict
from heedful.study import Settings

YES, NO, OPEN = "yes", "no", "open"


def summarise(sections: Sequence[Section], settings: Settings, heads: Sequence[HeadRow]) -> dict[str, Any]:
    """The summary of a report.

    Args:
        sections: The nine sections.
        settings: Options of the validation.
        heads: The head table.

    Returns:
        ``counts`` of verdicts on the model's claims, ``tests`` made, ``multiplicity`` in words, the ``decision`` cell,
        ``conclusion`` and ``next`` steps.
    """
    findings = [finding for section in sections for finding in section.findings]
    overall = {f.claim: f for f in findings if f.layer is None and f.head is None}
    decision = decide(overall)
    counts = Counter(str(f.verdict) for f in overall.values())
    return {
        "counts": {name: counts[name] for name in sorted(counts)},
        "heads": dict(sorted(Counter(row.verdict for row in heads).items())),
        "tests": sum(f.p is not None for f in findings),
        "multiplicity": (
            "named heads and layers: Holm within each claim (largest standardised head of each null model where there are too "
            "few null models for Holm); counts of heads: Benjamini-Hochberg at 5 %; claims are not pooled"
        ),
        "decision": decision,
        "failed": [f.claim for f in overall.values() if f.verdict is Verdict.FAIL],
        "conclusion": conclude(decision, overall),
        "next": next_steps(decision, overall, settings),
    }


def decide(overall: dict[str, Finding]) -> dict[str, str]:
    """Answers to the four questions: yes, no, or open."""
    integrity = (
        "rows_sum_to_one",
        "future_is_unseen",
        "attention_is_finite",
        "entropy_within_bounds",
        "gradients_reach_attention",
    )
    broken = [name for name in integrity if name in overall and overall[name].verdict is Verdict.FAIL]
    return {
        "correct": NO if broken else YES,
        "content_dependent": _answer(overall.get("queries_attend_by_content")),
        "concentrated": _answer(overall.get("heads_are_concentrated")),
        "useful": _useful(overall.get("learned_weights_matter"), overall.get("attention_output_matters")),
    }


def _answer(finding: Finding | None) -> str:
    if finding is None:
        return OPEN
    return {Verdict.PASS: YES, Verdict.ABSENT: NO}.get(finding.verdict, OPEN)


def _useful(weights: Finding | None, output: Finding | None) -> str:
    if (
        output is not None
        and output.detail.get("arm") == "zero"
        and output.verdict is Verdict.FAIL
        and (output.estimate or 0) < 1
    ):
        return NO
    return _answer(weights)


_SENTENCES = {
    "correct": {
        YES: "Attention is computed correctly.",
        NO: "Attention is not computed correctly; read section 1 and 8 first.",
    },
    "content_dependent": {
        YES: "What a query attends to depends on the text.",
        NO: "What a query attends to depends on its position alone.",
        OPEN: "Whether what a query attends to depends on the text is not settled.",
    },
    "concentrated": {
        YES: "Some heads are far from uniform, further than in untrained models.",
        NO: "Every head is close to uniform.",
        OPEN: "Whether heads are further from uniform than untrained ones is not settled.",
    },
    "useful": {
        YES: "The learned pattern does work: equal weights in its place cost the model loss.",
        NO: "The learned pattern does no work that an average over the visible keys does not do as well.",
        OPEN: "Whether the learned pattern does any work was not settled.",
    },
}

_READINGS = {
    (YES, YES, YES): "All four agree: these heads pay attention, and the model needs it.",
    (
        YES,
        YES,
        NO,
    ): "Patterns that follow the text and carry no loss: look for redundancy with the rest of the network.",
    (YES, NO, YES): "Nearly uniform, yet useful: small differences between weights do the work. Nothing is broken.",
    (
        YES,
        NO,
        NO,
    ): "Small differences that the loss does not need: attention averages, and the rest of the network does the work.",
    (NO, YES, YES): "Attention here is a learned pattern of positions; the loss needs it.",
    (NO, YES, NO): "A pattern of positions that the loss does not need.",
    (NO, NO, YES): "Nearly uniform and blind to content, yet the loss reacts: look at the layers one by one.",
    (
        NO,
        NO,
        NO,
    ): "Attention is an average over the visible keys. It is not broken; it is not doing selective work either.",
}


def conclude(decision: dict[str, str], overall: dict[str, Finding]) -> str:
    """The conclusion in plain words."""
    parts = [_SENTENCES["correct"][decision["correct"]]]
    if decision["correct"] == NO:
        failed = [f"{f.claim}: {f.reason}" for f in overall.values() if f.verdict is Verdict.FAIL]
        return " ".join([*parts, *failed[:2]])
    parts += [_SENTENCES[question][decision[question]] for question in ("content_dependent", "concentrated", "useful")]
    reading = _READINGS.get((decision["content_dependent"], decision["concentrated"], decision["useful"]))
    signature = overall.get("ablation_signature")
    if signature is not None and signature.detail.get("signature"):
        parts.append(f"By ablation of the whole model its work is: {signature.detail['signature']}.")
    return " ".join([*parts, reading] if reading else parts)


def _beyond(finding: Finding) -> bool:
    """Whether an effect clears its margin already, so that more text would not change the verdict."""
    if finding.interval is None or finding.threshold is None:
        return False
    return finding.interval[0] > finding.threshold


def next_steps(decision: dict[str, str], overall: dict[str, Finding], settings: Settings) -> list[str]:
    """What to try next, each step following from a verdict."""
    steps = []
    for name in ("rows_sum_to_one", "future_is_unseen", "attention_is_finite", "gradients_reach_attention"):
        finding = overall.get(name)
        if finding is not None and finding.verdict is Verdict.FAIL:
            steps.append(f"mend {name}: {finding.reason}")
    thin = [f for f in overall.values() if f.verdict is Verdict.INSUFFICIENT]
    if thin:
        steps.append(
            f"give more text: {thin[0].n} documents are too few for {len(thin)} claims; at least {settings.least_units} are needed"
        )
    waiting = [f for f in overall.values() if f.verdict is Verdict.WARN and not _beyond(f)]
    if waiting and not thin:
        steps.append(f"{waiting[0].claim} is not settled: more documents (--text, --sequences) narrow its interval")
    if not settings.nulls:
        steps.append("compare with untrained models: --null-models 19")
    if decision["useful"] == OPEN and any(
        f.claim == "learned_weights_matter" and f.verdict is Verdict.SKIP for f in overall.values()
    ):
        steps.append("load the model with its language-model head, so that ablation can be judged by loss")
    if decision["useful"] == NO and decision["correct"] == YES:
        steps.append(
            "train longer or raise the attention temperature's inverse, then validate again: the pattern is not used yet"
        )
    if decision["correct"] == YES and decision["useful"] == YES and settings.preset != "full":
        steps.append("see which heads carry the loss: --preset full")
    return steps or ["nothing is open: keep this report and compare the next checkpoint with it"]
