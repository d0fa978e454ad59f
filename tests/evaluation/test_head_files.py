import io
import math
from pathlib import Path

import polars
import pytest
from tests.evaluation.page import factory

from heedful.errors import OutputError, UsageError
from heedful.evaluation.head_files import check_suffix, head_frame, save_heads


def test_the_frame_has_a_row_a_head_and_a_column_a_statistic() -> None:
    frame = head_frame(factory.realistic().heads)
    assert frame.shape == (24, 16)
    assert frame.columns[:6] == ["layer", "module", "head", "label", "verdict", "pattern"]
    assert frame.columns[-1] == "reason"
    assert math.isnan(frame["max_weight"][23])
    assert frame["effective_keys"].dtype == polars.Float64()


def test_no_head_and_a_missing_statistic() -> None:
    assert head_frame([]).columns == ["layer", "module", "head", "label", "verdict", "pattern", "reason"]
    frame = head_frame([factory.head(statistics={"a": 1.0}), factory.head(statistics={"b": 2})])
    assert frame["a"].to_list() == [1.0, None]
    assert frame["b"].to_list() == [None, 2.0]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "CSV"])
def test_tables_come_back(suffix: str, tmp_path: Path) -> None:
    heads, path = factory.realistic().heads, tmp_path / f"heads.{suffix}"
    save_heads(heads, path, overwrite=False)
    read = polars.read_parquet(path) if suffix == "parquet" else polars.read_csv(path)
    numbers = [name for name, kind in head_frame(heads).schema.items() if kind == polars.Float64()]
    assert read.select("layer", "head", *numbers).equals(head_frame(heads).select("layer", "head", *numbers))


def test_parquet_keeps_a_label_and_csv_shows_it(tmp_path: Path) -> None:
    heads = [factory.head(label=label) for label in factory.HOSTILE.values() if label.isascii()]
    save_heads(heads, tmp_path / "heads.parquet", overwrite=False)
    assert polars.read_parquet(tmp_path / "heads.parquet")["label"].to_list() == [head.label for head in heads]
    save_heads(heads, tmp_path / "heads.csv", overwrite=False)
    text = (tmp_path / "heads.csv").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.split("\n"))
    assert "'=HYPERLINK(0)" in text


def test_a_saved_table_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "heads.csv"
    save_heads([factory.head()], path, overwrite=False)
    with pytest.raises(OutputError, match="--force"):
        save_heads([], path, overwrite=False)
    save_heads([], path, overwrite=True)
    assert polars.read_csv(io.BytesIO(path.read_bytes())).height == 0


@pytest.mark.parametrize("name", ["heads.txt", "heads", ".csv", "heads.csv.gz"])
def test_another_suffix_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        check_suffix(name)
