"""Every variant is measured, baselines are closed forms, planted faults are seen, fitting and measuring are apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.row_alignment import expected_rows
from heedful.ngrams.remedies.record import Remedy
from heedful.ngrams.remedies.running import head_losses, run_ablations
from heedful.ngrams.remedies.suite import ablation_suite
from heedful.ngrams.remedies.variant import Material, Pieces, RemedyContext, chosen, parted

LENGTH, SIZE = 10, 12
TEXT = characters(9_000) % SIZE
ALL = [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
TABLES = {pair: counted(TEXT[:8_000], *pair, SIZE) for pair in ALL}
GROUND = RemedyContext(SIZE, width=32, head_dim=16)


def pieces(start: int, number: int) -> Pieces:
    tokens = TEXT[start : start + number * LENGTH].reshape(number, LENGTH)
    return Pieces(tokens, np.arange(number) // 2)


MEASURED, FITTING = pieces(8_000, 36), pieces(8_500, 16)
MATERIAL = Material(TABLES, MEASURED, FITTING)


def climbed(*words: str, material: Material = MATERIAL, seeds: tuple[int, ...] = (0, 1)) -> dict[str, Remedy]:
    record = run_ablations(material, chosen(ablation_suite(GROUND), words), GROUND, seeds=seeds)
    return {one.name: one for one in record.remedies}


@pytest.mark.slow
def test_every_rung_is_measured() -> None:
    suite = ablation_suite(GROUND)
    whole = run_ablations(MATERIAL, suite, GROUND, seeds=(0,))
    assert [one.name for one in whole.remedies] == [
        variant.name for variant in suite if variant.name not in whole.skipped
    ]
    assert len({variant.name for variant in suite}) == len(suite) and set(whole.skipped) == {"like_reference"}
    earlier: set[str] = set()
    for variant in suite:
        assert not variant.against or variant.against in earlier, variant.name
        earlier.add(variant.name)
    for one in whole.remedies:
        assert np.isfinite((one.agreement.divergence.estimate, one.agreement.skill.low, one.factor, one.best)).all()
        assert 0 <= one.entropy.estimate <= 1 + 1e-9 and 0 <= one.agreement.match.estimate <= 1


def mean_over_documents(rows: list[list[float]]) -> float:
    """Rows of each piece, two pieces a document."""
    means = [np.mean(row) for row in rows]
    return float(np.mean([np.mean(means[start : start + 2]) for start in range(0, len(means), 2)]))


def test_baselines_are_closed_forms() -> None:
    known = climbed("baselines")
    frequency = np.log(TABLES[1, 0].column_sums + 1)
    uniform, unigram = [], []
    for tokens in MEASURED.tokens:
        expected = expected_rows(TABLES[1, 0], tokens, np.arange(LENGTH))
        flat, by_frequency = [], []
        for row in range(1, LENGTH):
            seen = expected[row, : row + 1]
            if np.isnan(seen).any():
                continue
            entropy = -sum(e * np.log(e) for e in seen if e > 0)
            weights = np.exp(frequency[tokens[: row + 1]])
            flat.append(np.log(row + 1) - entropy)
            by_frequency.append(-entropy - float(seen @ np.log(weights / weights.sum())))
        uniform.append(flat)
        unigram.append(by_frequency)
    agreement = known["uniform"].agreement
    assert agreement.divergence.estimate == pytest.approx(mean_over_documents(uniform), abs=1e-9)
    assert agreement.uniform.estimate == pytest.approx(agreement.divergence.estimate, abs=1e-12)
    assert (agreement.skill.low, agreement.skill.high) == pytest.approx((0, 0), abs=1e-12)
    assert known["unigram"].agreement.divergence.estimate == pytest.approx(mean_over_documents(unigram), abs=1e-9)


def test_the_published_fault_is_seen_and_undone() -> None:
    found = climbed("published", "best_temperature", "log_p")
    lost, kept, exact = (found[name].agreement.skill for name in ("published_fitted", "bare_input", "log_p"))
    assert abs(lost.estimate) < 0.02
    assert kept.low > 0.2 and exact.low > 0.9
    step = found["embeddings_kept"].step
    assert step is not None and step.against == "published" and step.gain.low > 0
    before, after = (found[name].agreement.divergence.estimate for name in ("published", "embeddings_kept"))
    assert step.gain.estimate == pytest.approx(before - after, abs=1e-9)


def test_focus_on_the_wrong_keys_is_flagged() -> None:
    found = climbed("std_0.1", "wrong_norm")
    assert found["wrong_norm"].misaligned and not found["log_p"].misaligned
    hot = found["std_0.1"]
    assert hot.misaligned == (hot.agreement.skill.high < 0 and hot.entropy.estimate < 0.5)


def test_counts_of_another_language_are_seen_beside_the_true_ones() -> None:
    order = np.roll(np.arange(SIZE), 5)
    foreign = {pair: counted(order[TEXT[:8_000]], *pair, SIZE) for pair in ALL}
    material = Material(foreign, MEASURED, FITTING, {pair: TABLES[pair] for pair in ((1, 0), (2, 0))})
    found = climbed("log_p", material=material)["log_p"]
    assert found.unseen is not None
    assert found.agreement.skill.low > 0.9 and found.unseen.skill.high < 0


def test_temperatures_know_nothing_of_what_is_measured() -> None:
    other = Material(TABLES, pieces(300, 36), FITTING)
    first, second = (climbed("exact_m", material=one, seeds=(0,))["exact_m"] for one in (MATERIAL, other))
    assert first.factor == pytest.approx(second.factor, rel=1e-12)
    assert first.agreement.divergence.estimate != second.agreement.divergence.estimate
    refitted = climbed("exact_m", material=Material(TABLES, MEASURED, pieces(300, 16)), seeds=(0,))["exact_m"]
    assert refitted.factor != first.factor


def test_seeds_are_averaged_within_documents_and_their_spread_is_told() -> None:
    one, other = (climbed("bare_input", seeds=(seed,))["bare_input"] for seed in (3, 4))
    both = climbed("bare_input", seeds=(3, 4))["bare_input"]
    values = [found.agreement.divergence.estimate for found in (one, other)]
    assert both.agreement.divergence.estimate == pytest.approx(np.mean(values), abs=1e-9)
    assert both.spread == pytest.approx(np.std(values, ddof=1), abs=1e-9) and np.isnan(one.spread)
    assert both.agreement.divergence.n == len(np.unique(MEASURED.document))


def test_rungs_bring_those_they_change() -> None:
    names = [variant.name for variant in chosen(ablation_suite(GROUND), ["log_p"])]
    assert names[0] == "uniform" and names[-1] == "log_p" and "exact_m" in names and "pmi" not in names
    with pytest.raises(UsageError, match="--variants nothing: no variant or group"):
        chosen(ablation_suite(GROUND), ["nothing"])


def test_counts_that_are_missing_are_named() -> None:
    poor = Material({(1, 0): TABLES[1, 0]}, MEASURED, FITTING)
    record = run_ablations(poor, chosen(ablation_suite(GROUND), ["log_p_oracle", "additive_2"]), GROUND, seeds=(0,))
    assert (
        "counts of n=1 skip=1, n=2 skip=0 are missing (heedful ngrams count --n 1..2 --skip 0..1)"
        in (record.skipped["additive_2"])
    )
    assert "heedful ngrams count --n 1..2 --skip 0..3" in record.skipped["offsets_0_to_3"]
    assert "log_p_oracle" in {one.name for one in record.remedies}
    with pytest.raises(UsageError, match="n=1 skip=0"):
        Material({(2, 0): TABLES[2, 0]}, MEASURED, FITTING)


def test_logits_spread_as_those_of_a_reference_where_one_is_given() -> None:
    given = [Material(TABLES, MEASURED, FITTING, spreads=[[size]]) for size in (0.5, 2.0)]
    flat, sharp = (climbed("like_reference", material=one, seeds=(0,))["like_reference"] for one in given)
    assert flat.factor == pytest.approx(4 * sharp.factor, rel=1e-3) and flat.entropy.low > sharp.entropy.high


def test_a_width_that_cannot_be_is_named() -> None:
    narrow = RemedyContext(SIZE, width=16, head_dim=8)
    record = run_ablations(MATERIAL, chosen(ablation_suite(narrow), ["positions_joint"]), narrow, seeds=(0,))
    assert "a width of at least" in record.skipped["positions_joint"]


def test_what_a_first_layer_adds_moves_the_second_by_its_size() -> None:
    found = climbed("additive_residual_2", "additive_raw_2", "second_raw_2", "second_residual_2", seeds=(0,))
    loss = {name: one.agreement.divergence.estimate for name, one in found.items()}
    assert loss["additive_second_2"] == pytest.approx(loss["additive_2"], abs=0.02)
    for name in ("additive_raw_2", "additive_residual_2"):
        step = found[name].step
        assert step is not None and step.against == "additive_second_2" and step.gain.high < -0.1
    assert len({loss[name] for name in ("second_layer_2", "second_raw_2", "second_residual_2")}) == 3


def test_measured_and_fitted_pieces_share_no_document() -> None:
    windows = [[number] * 5 for number in range(40)]
    measured, fitting = parted(windows, [f"d{number % 8}" for number in range(40)], 20)
    assert len(measured.tokens) == 20 and not set(measured.document) & set(fitting.document)
    assert len(np.unique(measured.document)) > 4
    with pytest.raises(InputRejected, match="1 documents"):
        parted(windows, ["one"] * 40, 20)


def test_the_bigram_is_the_same_by_attention_and_by_the_table() -> None:
    losses, skipped = head_losses(MATERIAL, GROUND, (0, 1))
    known = {one.name: one for one in losses}
    assert not skipped
    assert known["self_p"].loss.estimate == pytest.approx(known["bigram"].loss.estimate, abs=1e-12)
    table, share = TABLES[1, 0], known["bigram"].weight
    dense = table.counts.toarray()
    bigram = dense / np.maximum(dense.sum(1, keepdims=True), 1)
    frequency = (dense.sum(0) + 1) / (dense.sum() + SIZE)
    own = [
        [-np.log(share * bigram[a, b] + (1 - share) * frequency[b]) for a, b in pairwise(row[1:])]
        for row in MEASURED.tokens
    ]
    assert known["bigram"].loss.estimate == pytest.approx(mean_over_documents(own), abs=1e-9)
    assert known["unigram"].loss.estimate > known["bigram"].loss.estimate
    assert known["offsets_0_to_3"].gain.estimate > 0
    whole = head_losses(MATERIAL, replace(GROUND, head_dim=SIZE), (0,))[0]
    messages = {one.name: one.loss.estimate for one in whole}
    assert messages["offsets_in_model"] == pytest.approx(messages["offsets_0_to_3"], abs=1e-4)


def test_text_that_counts_know_nothing_of_is_refused() -> None:
    beyond = counted(TEXT[:200] % 3, 1, 0, SIZE)
    foreign = Pieces(np.full((8, LENGTH), SIZE - 1), np.arange(8))
    with pytest.raises(InputRejected, match="no context of the text was counted"):
        run_ablations(Material({(1, 0): beyond}, foreign, foreign), chosen(ablation_suite(GROUND), ["uniform"]), GROUND)


def test_the_same_matrices_are_not_measured_twice() -> None:
    """A quarter of the tokens is as many components as the model has: one row, not two that count for p."""
    losses, skipped = head_losses(MATERIAL, replace(GROUND, head_dim=SIZE // 4), (0,))
    assert "offsets_few" not in {one.name for one in losses} and "offsets_in_model" in {one.name for one in losses}
    assert skipped["offsets_few"] == "has 3 components as offsets_in_model does, and is the same"
