from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading.token_pairs import read_pairs


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
