from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.loading import material

import heedful
from heedful.errors import UsageError
from heedful.evaluation.head_listing import HeadTable, read_pairs


@pytest.fixture(scope="module")
def table() -> HeadTable:
    ids = torch.randint(5, 200, (3, 12), generator=torch.Generator().manual_seed(0))
    return heedful.heads(heedful.load_model(), ids)


def test_it_is_a_sequence_of_rows_with_a_short_repr(table: HeadTable) -> None:
    assert repr(table) == "HeadTable(embedded default: 24 heads in 4 layers)"
    assert len(table) == 24 and [row.head for row in table][:7] == [0, 1, 2, 3, 4, 5, 0] and table[7].layer == 1


def test_dataframes_need_nothing_that_a_plain_install_lacks(table: HeadTable) -> None:
    assert table.to_polars().height == 24 and table.to_pandas().shape[0] == 24
    with heedful.capture(heedful.load_model().model) as session:
        session.model(torch.randint(5, 200, (1, 12)))
    assert session.heads().to_pandas().columns.tolist()[:3] == ["layer", "module", "head"]


@pytest.mark.parametrize("ending", [".html", ".json", ".csv", ".parquet"])
def test_it_is_saved_by_its_ending(table: HeadTable, tmp_path: Path, ending: str) -> None:
    assert table.save(tmp_path / f"heads{ending}").stat().st_size > 500
    with pytest.raises(UsageError, match=r"\.html or \.json or \.csv or \.parquet, got '\.xlsx'"):
        table.save(tmp_path / "heads.xlsx")


def test_its_json_is_the_rows_and_its_page_has_every_head(table: HeadTable) -> None:
    rows = json.loads(table.to_json())
    assert len(rows) == 24 and rows[0]["label"] == "L0H0"
    page = table.to_html()
    assert all(row.label in page for row in table) and "3 sequences of 12 tokens of 3 documents" in page


@pytest.mark.parametrize(
    ("name", "content", "pairs"),
    [
        ("p.csv", "query,key\n5,3\n9,1\n", [[5, 3], [9, 1]]),
        ("p.csv", "key,note,query,sequence\n3,x,5,0\n", [[0, 5, 3]]),
        ("p.json", "[[5, 3], [1, 9, 2]]", [[5, 3], [1, 9, 2]]),
        ("p.csv", "\ufeffquery,key\n5,x\n", [[5, "x"]]),
    ],
)
def test_pairs_are_read(name: str, content: str, pairs: list[list[int]], tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_pairs(tmp_path / name) == pairs


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.csv", b"a,b\n1,2\n", "expected columns query and key, found a, b"),
        ("p.csv", b"", "found none"),
        ("p.csv", b"query,key\n\xff,2\n", "expected CSV in UTF-8"),
        ("p.json", b"{}", "expected a list of pairs, found dict"),
        ("p.json", b"[1", "expected JSON"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    material.refused(lambda: read_pairs(tmp_path / name), 3, name, says)
