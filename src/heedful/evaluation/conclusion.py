"""Summarise a report: count verdicts, state the adjustment for multiple testing, and draw a conclusion from four
questions about the model.

Measure loss and perplexity of the model on the text, compared with token frequencies alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heedful.evaluation.result import Finding, HeadRow, Section
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.units import mean_of
from heedful.inference.verdict import Verdict

YES, NO, OPEN = "yes", "no", "open"

MULTIPLICITY = (
    "heads named under one claim are wrong together in at most 5 % of reports (Holm's adjustment, or the largest "
    "standardised head of each null model or sign flip); ablations of the model and its layers share one Holm family; "
    "counts of heads are Benjamini-Hochberg's at 5 %, or those that Holm leaves; different claims are not adjusted for "
    "one another"
)

INTEGRITY = (
    "rows_sum_to_one",
    "future_is_unseen",
    "contract_is_kept",
    "attention_is_finite",
    "entropy_within_bounds",
    "divergence_is_proper",
    "global_rotation_is_unseen",
    "gradients_reach_attention",
)
"""Claims whose failure means that attention is not computed correctly."""

MEASURED = ("rows_sum_to_one", "attention_is_finite", "entropy_within_bounds", "capture_matches_output")
"""Claims that must PASS before attention is said to be computed correctly."""


BLOCKS_TOLD = "blocks of fewer than 16 texts stand for documents here, and do not vary independently"


def summarise(
    sections: Sequence[Section], settings: Settings, heads: Sequence[HeadRow], *, blocks: bool = False
) -> dict[str, Any]:
    """Return the summary of a report as a dict: verdict counts, number of tests, answers to four questions, conclusion
    and next steps.

    Args:
        sections: The nine sections.
        settings: Options of the validation.
        heads: The head table.
        blocks: Whether blocks of fewer texts stand for documents.

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
        "tests": sum(f.p is not None and "strongest" not in f.detail for f in findings),
        "multiplicity": MULTIPLICITY,
        **_interim_analyses(findings),
        "decision": decision,
        "failed": [f.claim for f in overall.values() if f.verdict is Verdict.FAIL],
        "conclusion": conclude(decision, overall),
        "next": next_steps(decision, overall, settings, blocks),
    }


def _interim_analyses(findings: Sequence[Finding]) -> dict[str, Any]:
    """How early the ablations stopped, where they were looked at more than once."""
    looked = [f.detail for f in findings if "look" in f.detail]
    if not looked:
        return {}
    stopped = Counter(int(detail["look"]) for detail in looked)
    read, planned = (sum(detail[name] for detail in looked) for name in ("sequences", "sequences_planned"))
    early = sum(detail["look"] < detail["looks"] for detail in looked)
    words = f"{early} of {len(looked)} ablations stopped early, after {read} of {planned} sequences in all"
    at = {str(look): stopped[look] for look in sorted(stopped)}
    return {"sequential": {"words": words, "stopped_at_look": at, "sequences": read, "sequences_planned": planned}}


def decide(overall: dict[str, Finding]) -> dict[str, str]:
    """Answer "yes", "no" or "open" to each question: is attention computed correctly, dependent on content,
    concentrated, and useful?
    """
    broken = any(name in overall and _own_verdict(overall[name]) == Verdict.FAIL for name in INTEGRITY)
    sound = all(name in overall and _own_verdict(overall[name]) == Verdict.PASS for name in MEASURED)
    return {
        "correct": NO if broken else YES if sound else OPEN,
        "content_dependent": _answer(overall.get("queries_attend_by_content")),
        "concentrated": _answer(overall.get("heads_are_concentrated")),
        "useful": _useful(overall.get("learned_weights_matter"), overall.get("attention_output_matters")),
    }


def _own_verdict(finding: Finding) -> str:
    """The verdict that the evidence gave, before the user's requirement made a failure of it."""
    return str(finding.detail.get("without_require", finding.verdict))


def _answer(finding: Finding | None) -> str:
    if finding is None:
        return OPEN
    return {Verdict.PASS.value: YES, Verdict.ABSENT.value: NO}.get(_own_verdict(finding), OPEN)


def _unused(output: Finding | None) -> bool:
    """Whether removing attention's output was shown to change nothing."""
    return output is not None and bool(output.detail.get("unused"))


def _useful(weights: Finding | None, output: Finding | None) -> str:
    return NO if _unused(output) else _answer(weights)


_SENTENCES = {
    "correct": {
        YES: "Attention is computed correctly.",
        NO: "Attention is not computed correctly; read sections 1 and 8 first.",
        OPEN: "Whether attention is computed correctly is not settled; read section 1 first.",
    },
    "content_dependent": {
        YES: "What a query attends to depends on the text.",
        NO: "What a query attends to does not depend on the text.",
        OPEN: "Whether what a query attends to depends on the text is not settled.",
    },
    "concentrated": {
        YES: "Some heads are further from uniform than the margin, and than heads that have learned nothing.",
        NO: "Every head is close to uniform.",
        OPEN: "Whether heads are further from uniform than heads that have learned nothing is not settled.",
    },
    "useful": {
        YES: "The learned pattern does work: equal weights in its place cost the model loss.",
        NO: "The learned pattern is no more useful than an average over the visible keys.",
        OPEN: "Whether the learned pattern is useful is not settled.",
    },
}

_NOT_USED = "Removing the output of attention costs the model nothing: attention is not used."

POSITIONAL = "positional"
_WORK = {
    POSITIONAL: "Ablation suggests that attention mainly follows positions.",
    "content": "Ablation suggests that attention mainly moves content.",
    "value average": "Ablation suggests that attention mainly averages what it sees.",
    "unused": "Ablation suggests that attention is not used.",
}
_MOSTLY_POSITION = "These heads also attend by content, but on this text the model needs only a pattern of positions."
_READINGS = {
    (YES, YES, YES): "All agree: these heads pay attention, and the model needs it.",
    (
        YES,
        YES,
        NO,
    ): "The patterns follow the text, but the loss does not need them: look for redundancy in the network.",
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


SCENARIOS = {
    (YES, NO, YES): "Scenario 1, works and looks uniform: nothing to do.",
    (NO, NO, YES): "Scenario 2, works and is uniform: compare the ablations of section 9 before you change it.",
    (NO, NO, NO): "Scenario 2, works and is uniform: the ablations of section 9 say that averaging is enough.",
}
"""The scenarios of an earlier validator, by content, concentration and use; the third asks for beliefs."""

TARGET = 0.5
"""Nats from uniform that ``--kappa-rule calibrated`` begins with, where ``--target-concentration`` names no other."""


def flat_beliefs(overall: dict[str, Finding]) -> tuple[list[str], float | None]:
    """Return the heads with diverse beliefs and near-uniform attention, and their mean nats from uniform."""
    found = overall.get("beliefs_are_diverse")
    detail = {} if found is None else found.detail
    return list(detail.get("named") or []), detail.get("concentration")


def _scenarios(decision: dict[str, str], overall: dict[str, Finding]) -> list[str]:
    """The scenarios that hold, each with its action; the third may hold beside the others."""
    one = SCENARIOS.get((decision["content_dependent"], decision["concentrated"], decision["useful"]))
    named, _ = flat_beliefs(overall)
    third = f"Scenario 3, uniform despite diverse beliefs ({len(named)} heads): set the temperature of each head first."
    return [*([one] if one else []), *([third] if named else [])] if decision["correct"] == YES else []


def conclude(decision: dict[str, str], overall: dict[str, Finding]) -> str:
    """Return the conclusion as plain sentences."""
    parts = [_SENTENCES["correct"][decision["correct"]]]
    if decision["correct"] == NO:
        failed = [f"{f.claim}: {f.reason}" for f in overall.values() if f.verdict is Verdict.FAIL]
        return " ".join([*parts, *failed[:2]])
    parts += [_SENTENCES[question][decision[question]] for question in ("content_dependent", "concentrated")]
    if _unused(overall.get("attention_output_matters")):
        return " ".join([*parts, _NOT_USED])
    parts.append(_SENTENCES["useful"][decision["useful"]])
    signature = overall.get("ablation_signature")
    if signature is not None and signature.verdict is Verdict.INFO:
        parts.append(_WORK.get(signature.detail["signature"], f"Ablation suggests: {signature.detail['signature']}."))
    reading = _READINGS.get((decision["content_dependent"], decision["concentrated"], decision["useful"]))
    if (
        reading == _READINGS[YES, YES, YES]
        and signature is not None
        and signature.detail.get("signature") == POSITIONAL
    ):
        reading = _MOSTLY_POSITION
    if reading and decision["correct"] == YES:
        parts.append(reading)
    return " ".join([*parts, *_scenarios(decision, overall)])


def _crosses_margin(finding: Finding) -> bool:
    """Whether an interval holds its margin, so that more text might change the verdict."""
    if finding.interval is None or finding.threshold is None:
        return False
    return finding.interval[0] <= finding.threshold <= finding.interval[1]


def _need_of(reason: str) -> str:
    """What would let ablation be judged, by why it was not; empty where the reason says it itself."""
    if "mask token" in reason:
        return "give a --tokenizer with a mask token"
    if "one sequence" in reason:
        return "give more text than one sequence"
    if "no loss" in reason:
        return "load the model with its language-model head"
    return ""


def next_steps(
    decision: dict[str, str], overall: dict[str, Finding], settings: Settings, blocks: bool = False
) -> list[str]:
    """Return suggestions on what to try next, one sentence for each verdict that calls for one."""
    steps = []
    for name in INTEGRITY:
        finding = overall.get(name)
        if finding is not None and finding.verdict is Verdict.FAIL:
            steps.append(f"mend {name}: {finding.reason}")
    named, nats = flat_beliefs(overall)
    if named:
        now = "" if nats is None else f" in place of {nats:.2g}"
        steps.append(
            f"train with --kappa-rule calibrated: it begins {TARGET:g} nats from uniform{now} in {', '.join(named[:3])}"
            f"{f' and {len(named) - 3} more' if len(named) > 3 else ''}, whose beliefs differ; more heads of high spin "
            "did not sharpen attention at a calibrated temperature"
        )
    if blocks:
        steps.append(f"give 16 documents or more (--text, one a file or a line of JSONL): {BLOCKS_TOLD}")
    thin = [f for f in overall.values() if f.verdict is Verdict.INSUFFICIENT and f.n < settings.least_units]
    if thin:
        steps.append(
            f"give more text: {thin[0].n} documents are too few for {len(thin)} claims; "
            f"at least {settings.least_units} are needed"
        )
    # The units of diversity's correlation are layers, which more documents do not add.
    claims = [f for f in overall.values() if f.claim != "diversity_tracks_concentration"]
    waiting = [f for f in claims if f.verdict is Verdict.WARN and _crosses_margin(f)]
    if waiting and not thin and not blocks:
        steps.append(f"{waiting[0].claim} is not settled: more documents (--text, --sequences) narrow its interval")
    if not settings.nulls:
        steps.append("compare with heads that have learned nothing: --null-models 19")
    worth = overall.get("learned_weights_matter")
    if decision["useful"] == OPEN and worth is not None and worth.verdict is Verdict.SKIP:
        need = _need_of(worth.reason)
        if need:
            steps.append(f"{need}, so that ablation can be judged by loss")
    if decision["useful"] == NO and decision["correct"] == YES:
        steps.append("train longer or sharpen the logits, then validate again: the pattern is not used yet")
    if decision["correct"] == YES and decision["useful"] == YES and settings.preset != "full":
        steps.append("see which heads carry the loss: --preset full")
    unsettled = [f for f in overall.values() if f.verdict in (Verdict.WARN, Verdict.INSUFFICIENT, Verdict.ERROR)]
    if not steps and unsettled:
        steps = [f"{f.claim} is open: {f.reason}" for f in unsettled[:3]]
    return steps or ["nothing is open: keep this report and compare the next checkpoint with it"]


NEAR = 0.97
"""Share of the frequencies' loss from which on a model's loss is near it."""


@dataclass(frozen=True)
class TextLoss:
    """Loss of a model on a text, with the entropy of token frequencies as the baseline.

    Attributes:
        loss: Mean over documents, nats per token.
        frequencies: Loss of token frequencies counted on the text itself, nats per token.
    """

    loss: float
    frequencies: float

    @property
    def perplexity(self) -> float:
        """``exp(loss)``, the effective number of next tokens the model hesitates between; infinite on overflow."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def unlike(self) -> bool:
        """Whether the loss is near or above that of token frequencies, so that the text may not suit the model."""
        return self.loss >= NEAR * self.frequencies

    @property
    def notes(self) -> list[str]:
        """The loss as text, with a warning if it is near or above that of token frequencies."""
        message = f"the model's own loss on this text: {self.loss:.3g} nat/token, perplexity {self.perplexity:.4g}"
        found = [f"{message}; token frequencies alone: {self.frequencies:.3g}"]
        if self.unlike:
            found.append(
                "warning: the model reads this text no better than token frequencies do: it is untrained, or the text "
                "or its tokenizer is unlike what it was trained on, and what its attention does here says little"
            )
        return found


def reading_of(study: Study) -> TextLoss | None:
    """Return the model's loss on the study's text; None if the model has no loss.

    Args:
        study: The study.
    """
    if study.nonfinite_parameters or study.objective.name == "none":
        return None
    loss = float(mean_of(study.units(study.loss)))
    return TextLoss(loss, frequency_loss(study)) if math.isfinite(loss) else None


def frequency_loss(study: Study) -> float:
    r"""Return the entropy of the text's token frequencies in nats, without special tokens, Miller-corrected.

    .. math:: H = -\sum_v p_v \ln p_v + \frac{V - 1}{2 N}

    Source: Miller 1955, Information Theory in Psychology.

    Args:
        study: The study.

    Returns:
        Nats per token; NaN without tokens.
    """
    sequences = study.sequences
    kept = sequences.input_ids[sequences.attention_mask.bool() & ~sequences.special].numpy()
    if not len(kept):
        return math.nan
    share = np.unique(kept, return_counts=True)[1] / len(kept)
    return float(-(share * np.log(share)).sum() + (len(share) - 1) / (2 * len(kept)))
