from pathlib import Path

import numpy as np
import polars
import pytest
from tests.monitoring.evolution import tables

from heedful.errors import InputRejected, UsageError
from heedful.monitoring.evolution.figures import key_report
from heedful.monitoring.evolution.pairs import changes, correlation, directions, entropy_pairs
from heedful.monitoring.evolution.paragraphs import _share_without_structure
from heedful.monitoring.evolution.rows import key_rows, parsed_groups, rows_of, run_table


def test_layers_fall_into_thirds_and_changes_are_those_of_the_table(tmp_path: Path) -> None:
    rows = key_rows(tables.write(tmp_path))
    assert rows.groups == ["early (layers 0-2)", "middle (layers 3-5)", "final (layers 6-8)"]
    assert (rows.dims, rows.stage, rows.steps) == ([64], "before", tables.STEPS)
    early, _, final = changes(rows, "norm_mean")
    # Layer l changes by 40 (0.02 (l + 1) - 0.05 [l = 0]), head 1 by 0.04 more.
    assert final.difference.estimate == pytest.approx(40 * 0.02 * 8 + 0.02, abs=1e-5)
    assert early.difference.estimate == pytest.approx(40 * (0.02 * 2 - 0.05 / 3) + 0.02, abs=1e-5)
    assert (final.direction, final.difference.units) == ("rose", 6)
    assert final.difference.low < final.difference.estimate < final.difference.high
    assert directions([early, final]) == ("early (layers 0-2) did not clearly move; final (layers 6-8) rose")


def test_keys_are_those_before_rotation_only_where_all_layers_have_them(tmp_path: Path) -> None:
    rows = key_rows(tables.write(tmp_path, layers=2, stages=("after",)))
    assert (rows.stage, rows.rotated.height) == ("after", 0)
    assert rows.groups == ["early (layer 0)", "final (layer 1)"]


def test_query_heads_that_share_keys_count_once_beside_the_norm(tmp_path: Path) -> None:
    found = entropy_pairs(key_rows(tables.write(tmp_path)))
    assert (found.norm.n, found.spread.n) == (18, 36)
    assert found.spread.estimate == pytest.approx(-1, abs=1e-6)
    assert (found.spread.units, len(found.norm_in_time), found.steps) == ("layers", 18, 5)
    first = next(row for row in found.drawn if row["panel"] == "mean key norm")
    # Query heads 0 and 1 of layer 0 at step 40: spreads 1.40 and 1.42.
    assert first["entropy"] == pytest.approx(1.2 - 0.3 * 1.41, abs=1e-6)


def test_the_interval_of_a_correlation_holds_it_and_needs_eight() -> None:
    random = np.random.default_rng(3)
    x, layers = random.standard_normal(24), np.arange(24) // 2
    y = -x + random.standard_normal(24)
    found = correlation(x, y, layers)
    assert -1 <= found.low < found.estimate < found.high < 0.2
    assert (found.n, found.units) == (24, "layers")
    assert correlation(x[:10], y[:10], layers[:10]).units == "heads"
    few = correlation(x[:7], y[:7], layers[:7])
    assert np.isnan(few.low) and np.isfinite(few.estimate)
    assert np.isnan(correlation(x, np.ones(24), layers).estimate)


def test_the_share_without_structure_is_that_of_one_and_two_dimensions() -> None:
    assert _share_without_structure(1) == 1
    assert _share_without_structure(2) == pytest.approx(0.5 + 1 / np.pi, abs=0.005)  # mean of max(cos^2, sin^2)


def test_paragraphs_tell_the_numbers(tmp_path: Path) -> None:
    report = key_report(tables.write(tmp_path))
    messages = {figure.name: figure.paragraph for figure in report.figures}
    assert "final (layers 6-8) rose" in messages["key_norm_evolution"]
    assert "8.00 to 7.60 on average; weight decay alone would have left 6.00" in messages["key_norm_evolution"]
    assert "training held them up" in messages["key_norm_evolution"]
    assert (
        "less than half" not in messages["outlier_magnitude"] and "holds most of a key" in messages["outlier_magnitude"]
    )
    assert "0.0005" in messages["latent_redundancy"]
    assert "lowest in layer 0 (6.82)" in messages["key_magnitude_profile"]
    assert "n = 18 key heads" in messages["entropy_and_spread"]
    assert all("Not shown: " in text and len(text) < 2000 for text in messages.values())


def test_one_step_is_told_and_not_drawn(tmp_path: Path) -> None:
    report = key_report(tables.write(tmp_path, steps=(7,)))
    messages = {figure.name: figure.paragraph for figure in report.figures}
    assert [figure.name for figure in report.drawn] == ["key_magnitude_profile", "entropy_and_spread"]
    for name in ("key_norm_evolution", "outlier_magnitude", "latent_redundancy"):
        assert messages[name].startswith("One step has no evolution") and "->" not in messages[name]
    # Layers 0 to 2 at step 7: 8 - 0.21 (layer 0), 8.28, 8.42; head 1 is 0.007 beyond.
    assert "early (layers 0-2) 8.17 (6 key heads, 7.79 to 8.43)" in messages["key_norm_evolution"]
    assert "norm of 7.93 on average" in messages["key_norm_evolution"] and "1 recorded step;" in report.measured


def test_one_layer_has_no_profile_by_depth(tmp_path: Path) -> None:
    report = key_report(tables.write(tmp_path, layers=1))
    messages = {figure.name: figure.paragraph for figure in report.figures}
    assert "in the one layer there is" in messages["key_magnitude_profile"]
    assert "undefined" not in messages["key_magnitude_profile"] and len(report.drawn) == 5
    assert {row["group"] for row in report.figures[0].rows} == {"all (layer 0)"}


def test_heads_of_several_dimensions_have_a_line_each(tmp_path: Path) -> None:
    report = key_report(tables.write(tmp_path, layers=4, dims=(64, 128)))
    messages = {figure.name: figure.paragraph for figure in report.figures}
    assert report.figures[0].reference == pytest.approx((8, 128**0.5))
    assert "dimension 64 and 128" in report.measured
    assert (
        "sqrt(d_k) = 8.00 and 11.3" in messages["key_magnitude_profile"]
        and "0.064 at d_k = 128" in messages["outlier_magnitude"]
    )


def test_a_table_by_itself_is_read_as_that_of_its_folder(tmp_path: Path) -> None:
    run = tables.write(tmp_path)
    assert key_report(run / "attention.parquet").figures == key_report(run).figures


@pytest.mark.parametrize(("steps", "told"), [((), "found none"), (None, "found no folder")])
def test_too_little_is_refused(steps: tuple[int, ...] | None, told: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if steps is not None:
        tables.write(run, steps=steps)
    with pytest.raises(InputRejected, match=told):
        key_report(run)


def test_a_table_without_keys_is_refused(tmp_path: Path) -> None:
    run = tables.write(tmp_path)
    path = run / "attention.parquet"
    frame = polars.read_parquet(path).drop("logit_sd")
    frame.write_parquet(path, metadata={"schema": "heedful.attention/1"})
    with pytest.raises(InputRejected, match="lacks numbers in logit_sd"):
        key_report(run)


def test_layers_fall_into_the_groups_that_were_named(tmp_path: Path) -> None:
    table = run_table(tables.write(tmp_path))
    rows = rows_of(table, "run", "0-3,4-7,8")
    assert rows.groups == ["early (layers 0-3)", "middle (layers 4-7)", "final (layer 8)"]
    assert rows_of(table, "run", "0-8").groups == ["all (layers 0-8)"]
    with pytest.raises(UsageError, match="expected every layer in a group, layer 8 is in none"):
        rows_of(table, "run", "0-3,4-7")


@pytest.mark.parametrize("groups", ["", "a-b", "0-", "3-1", "0-4,4-8", "5-8,0-4", "0,1,2,3", "-1"])
def test_groups_of_another_form_are_refused(groups: str) -> None:
    with pytest.raises(UsageError, match="--groups"):
        parsed_groups(groups)
