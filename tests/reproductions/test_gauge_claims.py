"""Claims of notes 001 and 004 on made-up tables, each decided both ways; the recall task and the law of crowding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from reproductions.answer import Answer
from reproductions.evidence import Measurements, NotMeasured
from reproductions.gauge import explanations, thresholds, uniformity
from reproductions.gauge.__main__ import main
from reproductions.gauge.measuring import OWN, SWEEPS, plan_file
from reproductions.gauge.pictures import expected_rows, found_rows, rule_rows
from reproductions.gauge.recall import RecallArm, RecallHeads, recalled
from reproductions.gauge.simulating import ratio_for
from reproductions.gauge.tables import above_p, by_seed, equivalence_p, spin_contrast
from reproductions.judging import judge
from reproductions.published import CLAIMS
from scipy.stats import ttest_1samp

from heedful.inference.verdict import Verdict
from heedful.training.sweeps.plan_file import read_plan

NOISE = (0.01, -0.02, 0.0, 0.02, -0.01)
Cells = dict[tuple[str, str], tuple[float, float]]


def deciding(folder: Path, cells: Cells) -> None:
    """``(rule, frames)`` to concentration of l0 and l2, five seeds each."""
    rows = [
        {"kappa_rule": rule, "token_frames": frames, "seed": seed, "measure": "concentration"}
        | {"run": f"{rule} {frames} {seed}", "layer": 0, "head": int(label[1])}
        | {"label": f"L0H0 {label}", "value": value + noise * (1 if label == "l2" else 0.5)}
        for (rule, frames), values in cells.items()
        for label, value in zip(("l0", "l2"), values, strict=True)
        for seed, noise in enumerate(NOISE)
    ]
    polars.DataFrame(rows).write_parquet(folder / "deciding.parquet")
    polars.DataFrame(rows).filter(polars.col("kappa_rule") == "calibrated").write_parquet(folder / "positions.parquet")


def simulated(folder: Path, line: float = 15.0, learned: float = 1.5, power: float = -2.0) -> None:
    """Tables of the recall task and of crowding."""
    keys = {("held", 1): line, ("held", 5): 2.0, ("learned", 1): learned, ("longer", 1): learned}
    rows: list[dict[str, Any]] = [
        {"arm": arm, "dim": dim, "weight": 0.0, "seed": seed, "effective_keys": value + noise}
        for (arm, dim), value in keys.items()
        for seed, noise in enumerate(NOISE)
    ]
    polars.DataFrame(rows).write_parquet(folder / "recall.parquet")
    laws = [
        {"dim": dim, "keys": keys, "seed": seed, "ratio": float(keys) ** (power / dim + noise / 10)}
        for dim in (1, 3, 5)
        for keys in (32, 64, 128)
        for seed, noise in enumerate(NOISE)
    ]
    polars.DataFrame(laws).write_parquet(folder / "crowding.parquet")


ALIKE: Cells = {
    ("shared", "learned"): (0.5, 2.0),
    ("calibrated", "learned"): (0.5, 0.5),
    ("calibrated", "none"): (0.5, 0.5),
}


def verdicts(findings: Any) -> list[Verdict]:
    return [finding.verdict for finding in findings if finding.verdict != Verdict.INFO]


def test_equal_heads_under_calibration_speak_for_temperature_and_against_geometry(tmp_path: Path) -> None:
    deciding(tmp_path, ALIKE)
    simulated(tmp_path)
    evidence = Measurements(tmp_path)
    found = explanations.temperature_makes_the_spin_effect(evidence)
    assert verdicts(found) == [Verdict.PASS, Verdict.PASS]
    assert found[1].p_adjusted is not None and found[1].p is not None and found[1].p_adjusted > found[1].p
    assert verdicts(explanations.rotation_sharpens_a_head(evidence)) == [Verdict.ABSENT]
    assert verdicts(explanations.a_line_crowds(evidence)) == [Verdict.PASS] * 5


def test_a_tensor_that_is_sharper_with_frames_speaks_for_geometry(tmp_path: Path) -> None:
    deciding(tmp_path, ALIKE | {("calibrated", "learned"): (0.5, 0.9)})
    simulated(tmp_path, line=2.0, learned=9.0, power=-1.0)
    evidence = Measurements(tmp_path)
    assert verdicts(explanations.temperature_makes_the_spin_effect(evidence)) == [Verdict.PASS, Verdict.ABSENT]
    assert verdicts(explanations.rotation_sharpens_a_head(evidence)) == [Verdict.PASS]
    crowds = verdicts(explanations.a_line_crowds(evidence))
    assert crowds[0] == Verdict.INSUFFICIENT and crowds[1:] == [Verdict.ABSENT] * 4


def test_without_an_effect_under_one_temperature_nothing_is_explained(tmp_path: Path) -> None:
    deciding(tmp_path, ALIKE | {("shared", "learned"): (0.5, 0.5)})
    simulated(tmp_path)
    found = explanations.temperature_makes_the_spin_effect(Measurements(tmp_path))
    assert verdicts(found) == [Verdict.ABSENT, Verdict.PASS]


@pytest.mark.parametrize(("found", "verdict"), [(2.0, Verdict.ABSENT), (20.0, Verdict.PASS)])
def test_whether_low_spin_can_be_sharp_is_decided_by_the_keys_left(
    tmp_path: Path, found: float, verdict: Verdict
) -> None:
    rows = [
        {"arm": arm, "dim": 1, "weight": 0.0, "seed": seed, "effective_keys": found + noise, "accuracy": 1 - noise}
        for arm in ("longer", "free")
        for seed, noise in enumerate(NOISE)
    ]
    polars.DataFrame(rows).write_parquet(tmp_path / "recall.parquet")
    cold = {"measure": "concentration", "kappa": 0.0086, "alignment_weight": 0.0, "label": "L0H0 l0"}
    kappa = [{**cold, "seed": seed, "value": 1.0 + noise} for seed, noise in enumerate(NOISE)]
    polars.DataFrame(kappa).write_parquet(tmp_path / "kappa.parquet")
    assert verdicts(uniformity.low_spin_cannot_attend_sharply(Measurements(tmp_path))) == [verdict, verdict]


def test_a_cell_that_was_not_run_is_not_measured(tmp_path: Path) -> None:
    deciding(tmp_path, ALIKE)
    table = Measurements(tmp_path).table("deciding")
    assert spin_contrast(table, kappa_rule="shared").tolist() == pytest.approx([1.5 + n / 2 for n in NOISE])
    with pytest.raises(NotMeasured, match="kappa_rule=sqrt"):
        by_seed(table, "concentration", kappa_rule="sqrt")


def test_equivalence_is_two_tests() -> None:
    near = np.array(NOISE)
    assert equivalence_p(near, 0.1) == pytest.approx(max(above_p(near, -0.1), above_p(-near, -0.1)))
    assert equivalence_p(near, 0.1) < 0.01 < 0.5 < equivalence_p(near + 0.11, 0.1)
    assert above_p(near, 0.005) == pytest.approx(float(ttest_1samp(near, 0.005, alternative="greater").pvalue))
    assert np.isnan(above_p(near[:1], 0.0)) and above_p(np.ones(3), 0.5) == 0 and above_p(np.ones(3), 1.5) == 1


def test_recall_is_learned_and_seeds_stay_apart() -> None:
    arm = RecallArm(name="learned", dim=3)
    alone, both = recalled(arm, [1], steps=80), recalled(arm, [1, 2], steps=80)
    assert alone[0]["effective_keys"] == pytest.approx(both[0]["effective_keys"], rel=1e-3)
    untrained = recalled(RecallArm(name="learned", dim=3), [1], steps=1)
    assert float(untrained[0]["accuracy"]) < 0.5 < float(alone[0]["accuracy"])
    assert float(alone[0]["kappa_over_spread"]) < 0.4


def test_a_held_arm_keeps_its_temperature_over_its_spread() -> None:
    assert recalled(RecallArm(name="held", dim=1), [0], steps=20)[0]["kappa_over_spread"] == pytest.approx(
        0.4318, rel=1e-4
    )
    placed = RecallHeads(RecallArm(name="held", dim=2), [0]).placed()
    assert placed.detach().var(1).mean() == pytest.approx(1.0, rel=1e-5)


def test_four_times_the_keys_on_a_line_take_a_sixteenth_of_the_temperature() -> None:
    found = ratio_for(1, 32, 1.5, 0) / ratio_for(1, 128, 1.5, 0)
    assert 10 < found < 26


@pytest.mark.parametrize("name", [*OWN, *SWEEPS])
def test_every_plan_of_the_experiment_fits(name: str) -> None:
    assert read_plan(plan_file(name)).recipe == ("decoder" if name == "text_softmax" else "gauge")


def test_figures_show_what_was_measured_and_leave_out_what_was_not(tmp_path: Path) -> None:
    deciding(tmp_path, ALIKE)
    rows = rule_rows(Measurements(tmp_path))
    cells = [(row["cell"], row["spin"]) for row in rows]
    assert cells[:2] == [("one kappa", "l0"), ("one kappa", "l2")] and ("times d", "l0") not in cells
    assert rows[1]["mean"] == pytest.approx(2.0) and rows[1]["low"] < 2.0 < rows[1]["high"]
    heads = [
        {"run": run, "layer": 0, "head": 0, "label": "l1", "seed": 0, "measure": measure, "value": value}
        for run, ratio in (("a", 0.5), ("b", 1e9))
        for measure, value in (("concentration", 1.25), ("kappa_over_spread", ratio))
    ]
    polars.DataFrame(heads).write_parquet(tmp_path / "untrained.parquet")
    polars.DataFrame(heads).filter(polars.col("run") == "none").write_parquet(tmp_path / "deciding.parquet")
    assert found_rows(Measurements(tmp_path)) == [{"spin": "l1", "ratio": 0.5, "nats": 1.25, "trained": False}]


def test_expected_lines_fall_with_the_temperature_and_rise_with_the_spin() -> None:
    rows = expected_rows()
    by_spin = {spin: [row["nats"] for row in rows if row["spin"] == spin] for spin in ("l0", "l1", "l2")}
    middle = len(by_spin["l0"]) // 2
    assert by_spin["l0"][middle] < by_spin["l1"][middle] < by_spin["l2"][middle]
    assert all(nats[0] > nats[middle] > nats[-1] for nats in by_spin.values())


def test_the_command_draws(tmp_path: Path) -> None:
    deciding(tmp_path, ALIKE)
    assert main([str(tmp_path), "--figures", str(tmp_path / "figures")]) == 0
    assert sorted(path.suffix for path in (tmp_path / "figures").iterdir()) == [".png", ".png", ".svg", ".svg"]
    assert main([str(tmp_path / "missing"), "--figures", str(tmp_path / "figures")]) == 3


def _guide(yes: float, trials: int = 400) -> dict[str, object]:
    """Answers of every rule on every planted attention, all alike."""
    rules = (
        "row_std: SHARP",
        "row_std: UNIFORM",
        "different from uniform",
        "entropy: nearly uniform",
        "local bias",
        "repeated tokens attract",
        "queries attend differently",
    )
    return {
        "guide": [
            {"rule": r, "world": w, "length": n, "causal": True, "count": round(yes * trials), "trials": trials}
            for r in rules
            for w in thresholds.WORDS
            for n in thresholds.LENGTHS
        ]
    }


def test_a_rule_that_says_yes_of_everything_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "guide.json").write_text(json.dumps(_guide(1.0)))
    claims = [claim for claim in CLAIMS.values() if claim.note == "004"]
    answers = {one.name: one for one in judge(claims, Measurements(tmp_path))}
    assert len(answers) == 6
    for name, one in answers.items():
        verdicts = {finding.verdict for finding in one.findings}
        only_asked_yes = name == "variation_says_that_queries_differ"
        assert one.answer == (Answer.REPRODUCED if only_asked_yes else Answer.REFUTED)
        assert Verdict.PASS in verdicts


def test_a_rule_without_measurements_is_not_tested(tmp_path: Path) -> None:
    (tmp_path / "guide.json").write_text(json.dumps({"guide": []}))
    claims = [claim for claim in CLAIMS.values() if claim.note == "004"]
    assert {one.answer for one in judge(claims, Measurements(tmp_path))} == {Answer.UNTESTED}


def test_a_share_has_its_exact_interval() -> None:
    found = thresholds._proportion(0, 12)
    assert (found.low, found.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 12)))
