"""What claims on derived attention are judged on, on a small text: counts, published figures, factors, whole runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars
import pytest
from reproductions.counts.__main__ import main
from reproductions.counts.measuring import measured, pictured
from reproductions.counts.pictures import cells, entropy_rows
from tests.reproductions import count_worlds as worlds

from heedful.loading.documents import load_documents
from reproductions.counts import attending, measuring, mending, samples, structure, sweeping

TEXT = " ".join(load_documents(None).texts)[:12_000]


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> samples.CountSample:
    parts = [TEXT[:6000], TEXT[6000:]]
    found = samples.sample(parts, 0, "text", 42, tmp_path_factory.mktemp("counts"))
    return replace(found, documents=found.documents[:6])


def test_counts_do_not_cross_blocks_and_are_those_of_a_loop(unit: samples.CountSample) -> None:
    blocks = samples.blocks(TEXT[:6000])
    assert len(blocks) == 6000 // samples.BLOCK
    assert unit.tables[1, 0].total == len(blocks) * (samples.BLOCK - 1)
    assert unit.tables[2, 3].total == len(blocks) * (samples.BLOCK - 5)
    e, t = 4 + ord("e") - ord("a"), 4 + ord("t") - ord("a")
    assert unit.tables[1, 0].counts.toarray()[t, e] == sum(block.count("te") for block in blocks) > 0
    assert unit.tables[1, 0].vocabulary == 85 and len(unit.documents[0]) == samples.TOKENS


def test_the_published_figures_differ_from_the_right_ones_as_they_should() -> None:
    expected = [np.array([[1.0, 0, 0], [0.5, 0.5, 0], [np.nan] * 3])]
    logits = [np.array([[0.0, -np.inf, -np.inf], [0.0, 1.0, -np.inf], [0.0, 0.0, 0.0]])]
    right, noted = attending.agreement(expected, logits), attending.published_agreement(expected, logits)
    a = 1 / (1 + np.e)
    kl = -0.5 * np.log(a) - 0.5 * np.log(1 - a) - np.log(2)
    assert right["divergence"] == pytest.approx(kl) and right["uniform"] == pytest.approx(0.0, abs=1e-12)
    assert noted["published_divergence"] == pytest.approx(kl / 2, abs=1e-8)
    assert (right["match"], noted["published_match"]) == (1.0, 0.5)
    assert right["uniform_cosine"] == pytest.approx(1.0) and right["cosine"] < 0.99


def test_softmax_of_log_p_is_expected_attention_and_of_m_is_not(unit: samples.CountSample) -> None:
    table = unit.tables[1, 0]
    expected = attending.expectations(table, unit.documents)
    assert mending.identity_error(table, unit.documents, expected) < 1e-12
    even = [np.tril(np.ones_like(block)) / np.arange(1, len(block) + 1)[:, None] for block in expected]
    wrong = [np.where(np.isnan(block), np.nan, flat) for block, flat in zip(expected, even, strict=True)]
    assert mending.identity_error(table, unit.documents, wrong) > 0.1


def test_keeping_the_embeddings_is_what_gives_skill_and_scale_moves_no_first_choice(unit: samples.CountSample) -> None:
    expected = attending.expectations(unit.tables[1, 0], unit.documents)
    first = {
        (arm, std): attending.layer_logits(sweeping.made(unit, arm, std).model, unit.documents)[0][:, 0]
        for arm in sweeping.ARMS
        for std in (0.01, 0.1)
    }
    skill = {key: attending.agreement(expected, list(logits))["skill"] for key, logits in first.items()}
    assert abs(skill["published", 0.01]) < 0.05 < 0.2 < skill["kept", 0.01]
    assert skill["published", 0.1] < 0 and skill["kept", 0.1] < 0
    for arm in sweeping.ARMS:
        same = first[arm, 0.01][:, 1:].argmax(-1) == first[arm, 0.1][:, 1:].argmax(-1)
        assert same.mean() > 0.99


def test_the_raw_score_grows_with_the_square_of_the_scale(unit: samples.CountSample) -> None:
    small, large = (sweeping.bare_scores(sweeping.made(unit, "published", std), unit) for std in (0.01, 0.1))
    assert large["raw_score"] / small["raw_score"] == pytest.approx(100, rel=1e-4)
    assert large["query_key_cosine"] == pytest.approx(small["query_key_cosine"], abs=1e-6)


def test_numbers_of_the_matrix_are_those_that_theory_knows(unit: samples.CountSample) -> None:
    found = {row["measure"]: row["value"] for row in structure.structured(unit) if not row["arm"]}
    noted = {row["measure"]: row["value"] for row in structure.structured(unit) if row["arm"]}
    assert found["singular_1"] == pytest.approx(1.0) and found["frequency_cosine"] > 0.99
    assert found["condition"] == pytest.approx(1 / found["condition_inverted"])
    assert found["singular_end_1"] == pytest.approx(found["singular_1"] / found["condition"])
    assert found["correlation_least_squares"] > 0.999 > found["correlation"] > 0.5 > found["correlation_replaced"]
    assert found["size_ratio_tenth"] == pytest.approx(1.0) and found["scores_moved"] < 1e-12
    assert abs(found["column_cosine"] - found["column_cosine_other_basis"]) > 1e-3
    assert [found["ngram_to_token"], found["ngram_same_last"]] == pytest.approx([1.0, 1.0])
    assert (round(noted["similarity_mean"], 4), round(noted["similarity_std"], 3)) == (0.0145, 0.124)


def test_a_run_keeps_what_it_measured_and_draws_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = [{"head": head} for head in range(4)]
    rows = polars.DataFrame([row | at for row in worlds.rows(True) for at in heads], infer_schema_length=None)
    monkeypatch.setattr(measuring, "measured", lambda unit: rows.with_columns(unit=polars.lit(unit.name)))
    text = tmp_path / "text.txt"
    text.write_text((TEXT * 18)[: 3 * samples.CHARACTERS], encoding="utf-8")
    words = [str(tmp_path / "out"), "--text", str(text), "--slices", "2"]
    assert main(words) == 0
    assert capsys.readouterr().err.splitlines() == ["text-0: seed 42", "text-1: seed 43"]
    before = (tmp_path / "out" / "counts.parquet").read_bytes()
    assert main(words) == 0 and capsys.readouterr().err == ""
    assert (tmp_path / "out" / "counts.parquet").read_bytes() == before
    assert main([str(tmp_path / "out"), "--figures", str(tmp_path / "figures")]) == 0
    assert len(list((tmp_path / "figures").glob("*.svg"))) == 5


def test_texts_that_cannot_be_used_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_text("too short", encoding="utf-8")
    for name, message in (("short.txt", "characters, found 9"), ("absent.txt", "No such file")):
        assert main([str(tmp_path / "out"), "--text", str(tmp_path / name)]) == 3
        shown = capsys.readouterr().err
        assert message in shown and shown.count("\n") == 1
    with pytest.raises(SystemExit):
        main([str(tmp_path / "out")])


def test_what_pictures_show_is_plain_and_leaves_out_what_is_undefined(unit: samples.CountSample) -> None:
    shown = json.loads(json.dumps(pictured(unit), allow_nan=False))
    assert len(shown["tokens"]) == samples.TOKENS and set(shown["weights"]) == {
        "expected",
        "published",
        "kept",
        "log P",
    }
    assert np.diff(shown["singular_values"]).max() <= 0
    assert cells([[1.0, None], [None, 0.5]]) == [
        {"query": 0, "key": 0, "weight": 1.0},
        {"query": 1, "key": 1, "weight": 0.5},
    ]
    rows = entropy_rows(shown["entropy"])
    assert len({row["series"] for row in rows}) == 3 and rows[1]["nats"] == pytest.approx(np.log(2))


@pytest.mark.slow
def test_every_measure_of_a_unit_is_a_number(unit: samples.CountSample) -> None:
    table = measured(replace(unit, documents=unit.documents[:2]))
    assert table["unit"].unique().to_list() == ["text-0"] and set(table["part"]) >= {"sweep", "heads", "structure"}
    assert table.filter(~polars.col("value").is_finite()).is_empty()
