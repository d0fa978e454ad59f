"""Four questions, their answers, and a text that never contradicts the verdicts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.checks.pattern_models import study_of
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import tiny_gpt2

from heedful.evaluation.conclusion import (
    INTEGRITY,
    MEASURED,
    NO,
    OPEN,
    YES,
    TextLoss,
    conclude,
    decide,
    frequency_loss,
    next_steps,
    reading_of,
    summarise,
)
from heedful.evaluation.result import Finding, HeadRow, Section
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict
from heedful.loading.documents import load_documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import make_sequences

V = Verdict
SOUND = dict.fromkeys({*INTEGRITY, *MEASURED}, V.PASS)
ANSWERS = {YES: V.PASS, NO: V.ABSENT, OPEN: V.WARN}
QUESTIONS = {
    "content_dependent": "queries_attend_by_content",
    "concentrated": "heads_are_concentrated",
    "useful": "learned_weights_matter",
}


def finding(claim: str, verdict: Verdict, **more: Any) -> Finding:
    return Finding(claim=claim, verdict=verdict, **{"reason": f"why {claim} is {verdict}", **more})


def overall(verdicts: dict[str, Verdict], **details: dict[str, Any]) -> dict[str, Finding]:
    return {claim: finding(claim, verdict, detail=details.get(claim, {})) for claim, verdict in verdicts.items()}


def cell(correct: str, content: str, concentrated: str, useful: str) -> dict[str, Finding]:
    broken = {NO: {"rows_sum_to_one": V.FAIL}, OPEN: {"capture_matches_output": V.WARN}, YES: {}}[correct]
    answers = {
        "queries_attend_by_content": ANSWERS[content],
        "heads_are_concentrated": ANSWERS[concentrated],
        "learned_weights_matter": ANSWERS[useful],
        "attention_output_matters": V.PASS,
    }
    return overall(SOUND | broken | answers)


SAID = {
    "content_dependent": {
        YES: "depends on the text.",
        NO: "does not depend on the text",
        OPEN: "depends on the text is not",
    },
    "concentrated": {
        YES: "Some heads are further",
        NO: "Every head is close to uniform",
        OPEN: "further from uniform than heads that have learned nothing is not settled",
    },
    "useful": {YES: "does work: equal weights", NO: "no more useful than an average", OPEN: "useful is not settled"},
}


@pytest.mark.parametrize("correct", [YES, NO, OPEN])
@pytest.mark.parametrize("answers", list(itertools.product((YES, NO, OPEN), repeat=3)), ids="-".join)
def test_every_cell_says_what_its_verdicts_say_and_nothing_else(correct: str, answers: tuple[str, str, str]) -> None:
    found = cell(correct, *answers)
    decision = decide(found)
    assert decision == {"correct": correct, **dict(zip(QUESTIONS, answers, strict=True))}
    text = conclude(decision, found)
    if correct == NO:
        assert "is not computed correctly" in text
        assert "why rows_sum_to_one is FAIL" in text
        assert not any(words in text for said in SAID.values() for words in said.values())
        return
    assert ("is computed correctly." in text) == (correct == YES)
    assert ("is computed correctly is not settled" in text) == (correct == OPEN)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        for other, words in SAID[question].items():
            assert (words in text) == (other == answer), (question, other)
    assert ("All agree" in text) == (correct == YES and answers == (YES, YES, YES))
    for praise in ("Nothing is broken", "It is not broken"):
        assert praise not in text or correct == YES


def test_every_settled_cell_has_a_reading_of_its_own() -> None:
    readings = set()
    for answers in itertools.product((YES, NO), repeat=3):
        found = cell(YES, *answers)
        readings.add(conclude(decide(found), found))
    assert len(readings) == 8


@pytest.mark.parametrize("verdict", [V.SKIP, V.UNDEFINED, V.INSUFFICIENT, V.WARN, None])
def test_what_was_not_shown_is_open(verdict: Verdict | None) -> None:
    rest = {} if verdict is None else dict.fromkeys(QUESTIONS.values(), verdict)
    assert set(list(decide(overall(SOUND | rest)).values())[1:]) == {OPEN}


@pytest.mark.parametrize("claim", MEASURED)
@pytest.mark.parametrize("verdict", [V.SKIP, V.UNDEFINED, V.WARN])
def test_correctness_that_was_not_measured_is_not_claimed(claim: str, verdict: Verdict) -> None:
    assert decide(overall(SOUND | {claim: verdict}))["correct"] == OPEN


@pytest.mark.parametrize("claim", INTEGRITY)
def test_any_failure_of_integrity_is_incorrect_and_to_be_mended_first(claim: str) -> None:
    found = overall(SOUND | {claim: V.FAIL})
    decision = decide(found)
    assert decision["correct"] == NO
    assert next_steps(decision, found, Settings())[0] == f"mend {claim}: why {claim} is FAIL"


@pytest.mark.parametrize("uniform", [V.ABSENT, V.PASS, V.WARN])
def test_attention_that_is_unused_is_said_to_be_and_nothing_is_read_into_it(uniform: Verdict) -> None:
    verdicts = SOUND | dict.fromkeys(QUESTIONS.values(), V.PASS)
    verdicts |= {"attention_output_matters": V.FAIL, "learned_weights_matter": uniform, "ablation_signature": V.INFO}
    found = overall(
        verdicts,
        attention_output_matters={"arm": "zero", "unused": True},
        ablation_signature={"signature": "mixed or not settled"},
    )
    decision = decide(found)
    text = conclude(decision, found)
    assert decision["useful"] == NO
    assert "attention is not used" in text
    assert not any(words in text for words in SAID["useful"].values())
    assert "By ablation" not in text and "All agree" not in text


def test_a_required_claim_keeps_the_answer_that_its_evidence_gave() -> None:
    """FAIL because it was required is no answer to the question: ABSENT stays no, and too few documents stay open."""
    absent = overall(
        SOUND | {"queries_attend_by_content": V.FAIL, "attention_output_matters": V.FAIL},
        queries_attend_by_content={"without_require": "ABSENT"},
        attention_output_matters={"arm": "zero", "unused": False, "without_require": "INSUFFICIENT DATA"},
    )
    decision = decide(absent)
    assert (decision["content_dependent"], decision["useful"]) == (NO, OPEN)
    skipped = overall(SOUND | {"future_is_unseen": V.FAIL}, future_is_unseen={"without_require": "SKIP"})
    assert decide(skipped)["correct"] == YES


def test_the_signature_is_told_where_there_is_one() -> None:
    found = cell(YES, YES, YES, YES) | overall(
        {"ablation_signature": V.INFO}, ablation_signature={"signature": "content"}
    )
    assert "Ablation suggests that attention mainly moves content." in conclude(decide(found), found)
    position = cell(YES, YES, YES, YES) | overall(
        {"ablation_signature": V.INFO}, ablation_signature={"signature": "positional"}
    )
    message = conclude(decide(position), position)
    assert "All agree" not in message and "needs only a pattern of positions" in message
    few = cell(YES, YES, YES, YES) | overall(
        {"ablation_signature": V.INSUFFICIENT}, ablation_signature={"signature": "too few documents"}
    )
    assert "By ablation" not in conclude(decide(few), few)


def steps(*more: Finding, **options: Any) -> list[str]:
    found = cell(YES, YES, YES, OPEN) | {f.claim: f for f in more}
    return next_steps(decide(found), found, Settings(**options))


def test_next_steps_follow_from_what_is_open() -> None:
    thin = finding("local_bias", V.INSUFFICIENT, n=6)
    assert steps(thin)[0] == "give more text: 6 documents are too few for 1 claims; at least 16 are needed"
    crossing = finding("local_bias", V.WARN, interval=(0.1, 0.3), threshold=0.22)
    assert "local_bias is not settled" in steps(crossing)[0]
    layers = finding("diversity_tracks_concentration", V.WARN, interval=(-0.1, 0.1), threshold=0.0)
    assert not any("narrow" in step for step in steps(layers))
    settled = finding("local_bias", V.WARN, interval=(0.3, 0.4), threshold=0.22)
    assert not any("narrow" in step for step in steps(settled))
    assert not any("narrow" in step for step in steps(finding("capture_matches_output", V.WARN)))
    assert "compare with heads that have learned nothing: --null-models 19" in steps(null_models=0)
    for reason, need in (("it has no loss", "language-model head"), ("one sequence: nothing", "more text than one")):
        lacking = finding("learned_weights_matter", V.SKIP, reason=reason)
        assert any(need in step for step in steps(lacking) if "judged by loss" in step)
    odd = finding("learned_weights_matter", V.SKIP, reason="attention that cannot be replaced was left as it is")
    assert not any("judged by loss" in step for step in steps(odd))  # no false advice
    message = steps(finding("learned_weights_matter", V.SKIP, reason="its tokenizer has no mask token"))
    assert any("--tokenizer with a mask token" in step for step in message)
    assert not any("language-model head" in step for step in message)
    assert steps(finding("learned_weights_matter", V.PASS)) == ["see which heads carry the loss: --preset full"]
    assert "not used yet" in steps(finding("learned_weights_matter", V.ABSENT))[0]
    assert steps(finding("learned_weights_matter", V.PASS), preset="full")[0].startswith("nothing is open")


def test_a_summary_counts_claims_heads_and_tests_once() -> None:
    findings = [
        finding("local_bias", V.PASS, p=0.01, detail={"strongest": "L0H0"}),
        finding("local_bias", V.PASS, p=0.01, layer=0, head=0),
        finding("local_bias", V.ABSENT, p=0.9, layer=0, head=1),
        finding("attention_output_matters", V.FAIL, p=0.5),
        finding("mass_by_distance", V.INFO),
    ]
    heads = [HeadRow(layer=0, module="m", head=h, label="", verdict="SHARP", pattern="", statistics={}) for h in (0, 1)]
    found = summarise([Section(number=2, title="Position", findings=findings)], Settings(), heads)
    assert found["counts"] == {"FAIL": 1, "INFO": 1, "PASS": 1}
    assert found["heads"] == {"SHARP": 2}
    assert found["tests"] == 3
    assert found["failed"] == ["attention_output_matters"]
    assert set(found) >= {"multiplicity", "decision", "conclusion", "next"}


def test_nothing_is_open_is_never_said_under_a_warning() -> None:
    sections = [Section(number=2, title="Position", findings=[Finding(claim="x", verdict=Verdict.WARN, reason="why")])]
    assert summarise(sections, Settings(preset="full"), [])["next"] == ["x is open: why"]
    message = summarise(sections, Settings(preset="full"), [], blocks=True)["next"]
    assert message[0].startswith("give 16 documents or more") and "do not vary independently" in message[0]


def test_an_untrained_model_reads_no_better_than_frequencies() -> None:
    study = study_of(tiny_gpt2(), random_ids(16, 32))
    with evaluating(study.model):
        found = reading_of(study)
    assert found is not None and found.loss == pytest.approx(float(study.loss.mean()))
    assert found.frequencies == pytest.approx(math.log(24), abs=0.05)
    assert found.unlike and found.notes[1].startswith("warning: the model reads this text no better")


def test_a_trained_model_reads_its_text_and_not_a_shuffled_one() -> None:
    loaded = load_model()
    sequences = make_sequences(load_documents(), loaded.tokenizer, seq_len=64, sequences=16)
    found = {}
    for name in ("text", "random"):
        ids = sequences.input_ids
        if name == "random":
            ids = torch.randint(0, int(ids.max()) + 1, ids.shape, generator=torch.Generator().manual_seed(0))
        study = Study(
            loaded.model, replace(sequences, input_ids=ids), study_of(loaded.model, random_ids(2, 8)).settings
        )
        with evaluating(loaded.model):
            found[name] = reading_of(study)
    assert found["text"] is not None and not found["text"].unlike and len(found["text"].notes) == 1
    assert found["random"] is not None and found["random"].unlike


def test_the_loss_of_frequencies_is_their_entropy() -> None:
    ids = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]])
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) + 1 / 16
    assert frequency_loss(study_of(tiny_gpt2(), ids)) == pytest.approx(expected)
    assert TextLoss(800.0, 3.0).perplexity == math.inf


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((YES, NO, YES), "Scenario 1, works and looks uniform: nothing to do."),
        ((NO, NO, YES), "Scenario 2, works and is uniform: compare the ablations"),
        ((NO, NO, NO), "Scenario 2, works and is uniform: the ablations of section 9 say"),
        ((YES, YES, YES), ""),
    ],
)
def test_scenarios_are_named_with_their_action(answers: tuple[str, str, str], said: str) -> None:
    for correct in (YES, OPEN, NO):
        verdicts = cell(correct, *answers)
        text = conclude(decide(verdicts), verdicts)
        assert ("Scenario" in text) == bool(said and correct == YES)
        assert correct != YES or said in text


def test_diverse_beliefs_and_flat_heads_name_the_temperature_first() -> None:
    verdicts = cell(YES, NO, NO, NO)
    settings = Settings(null_models=19)
    assert not any("kappa" in step for step in next_steps(decide(verdicts), verdicts, settings))
    heads = {"named": ["L0H0 (l0)", "L0H1 (l0)", "L0H2 (l0)", "L0H5 (l1)"], "concentration": 0.031}
    verdicts["beliefs_are_diverse"] = finding("beliefs_are_diverse", V.INFO, detail=heads)
    steps = next_steps(decide(verdicts), verdicts, settings)
    assert steps[0].startswith("train with --kappa-rule calibrated: it begins 0.5 nats from uniform in place of 0.031")
    assert "L0H0 (l0), L0H1 (l0), L0H2 (l0) and 1 more" in steps[0]
    text = conclude(decide(verdicts), verdicts)
    assert "Scenario 2" in text and "Scenario 3, uniform despite diverse beliefs (4 heads): set the temperature" in text
