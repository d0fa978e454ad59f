"""Induction on random tokens repeated with a random period."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, judged, nothing, study_of
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids, sequences_of

from heedful.evaluation.checks.induction import induction
from heedful.evaluation.heads import head_table
from heedful.inference.verdict import Verdict


def test_a_hand_built_induction_head_passes() -> None:
    overall, *heads = judged(induction, PatternModel(induction_keys), random_ids(24, 64), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.estimate == pytest.approx(1.0, abs=1e-4)


def test_a_previous_token_head_does_not_induce() -> None:
    model = PlantedModel(*previous_token_heads(2, 64))
    overall, *heads = judged(induction, model, random_ids(24, 64))
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}
    assert overall.estimate == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("count", [40, 80])
def test_each_random_sequence_is_a_unit_whatever_the_documents(count: int) -> None:
    """One document, and more sequences than there are repeats of: the repeats are of no document."""
    sequences = sequences_of(random_ids(count, 32))
    sequences.document.zero_()
    overall = judged(induction, PatternModel(nothing), sequences)[0]
    assert overall.n == 16
    assert overall.verdict is Verdict.ABSENT


def test_few_sequences_short_ones_few_tokens_and_two_way_models_are_not_judged() -> None:
    head = PatternModel(induction_keys)
    assert judged(induction, head, random_ids(6, 64))[0].verdict is Verdict.INSUFFICIENT
    assert judged(induction, head, random_ids(24, 15))[0].verdict is Verdict.SKIP
    assert judged(induction, head, random_ids(24, 64, vocabulary=15))[0].verdict is Verdict.SKIP
    both_ways = judged(induction, PatternModel(nothing, causal=False), random_ids(24, 64))[0]
    assert (both_ways.verdict, "bidirectional" in both_ways.reason) == (Verdict.SKIP, True)


def test_the_page_says_on_which_repeats_and_they_can_be_chosen() -> None:
    head = PatternModel(induction_keys)
    found = judged(induction, head, random_ids(24, 64))[0]
    assert found.detail["periods"][0] >= 8 and found.detail["copies"][1] <= 8
    assert "random tokens repeated with periods of" in found.reason and "copies" in found.reason
    chosen = judged(induction, head, random_ids(24, 64), repeat_periods=(16, 16), repeat_copies=2)[0]
    assert (chosen.detail["periods"], chosen.detail["copies"]) == ([16, 16], [2, 2])
    assert chosen.estimate == pytest.approx(1.0, abs=1e-4)
    assert judged(induction, head, random_ids(24, 64), repeat_periods=(16, 16), repeat_copies=5)[0].verdict == "SKIP"


def test_check_and_table_tell_the_same_mass() -> None:
    study = study_of(PatternModel(induction_keys), random_ids(24, 64))
    found = [finding.estimate for finding in induction(study) if finding.head is not None]
    table = [row.statistics["induction_mass"] for row in head_table(study)]
    assert found == pytest.approx(table, abs=1e-12)
