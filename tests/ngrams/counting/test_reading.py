import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from tests.ngrams.counting import material
from tests.oracles import ngram_loops as loops

from heedful.errors import InputRejected, ResourceLimit, UsageError
from heedful.loading.corpus import TokenPiece
from heedful.ngrams.counting.counting import count
from heedful.ngrams.counting.packing import Tokens, count_pairs
from heedful.ngrams.counting.reading import CountTable, read_counts

DOCUMENTS = material.zipf(10, 30, 20)
TABLE = "n1.s0.0000.parquet"


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    count(material.Numbers(DOCUMENTS), material.Codes(20), tmp_path / "counts")
    return tmp_path / "counts"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        (TABLE, cut, "it was cut or changed"),
        (TABLE, Path.unlink, "found no file"),
        (TABLE, flipped, "its checksum is not that of the manifest"),
        ("tokenizer.json", Path.unlink, "cannot be read as a tokenizer"),
        ("tokenizer.json", cut, "cannot be read as a tokenizer"),
        ("counts.json", cut, "not a manifest of counts"),
        ("counts.json", Path.unlink, "found no counts.json"),
        (
            "tokenizer.json",
            lambda path: path.write_text('{"model": {"vocab": []}}'),
            "is not the tokenizer that was counted",
        ),
    ],
)
def test_damage_is_one_line(name: str, damage: Callable[[Path], object], says: str, counts: Path) -> None:
    damage(counts / name)
    with pytest.raises(InputRejected, match=says) as refused:
        read_counts(counts).verify()
    assert "\n" not in str(refused.value) and str(counts) in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "heedful.counts/2"),
        (("n",), "1"),
        (("complete",), 1),
        (("vocabulary",), -1),
        (("tables", 1, "total"), None),
        (("tables", 1, "files", 0, "name"), "../outside.parquet"),
        (("texts",), 7),
        (("tables",), {}),
    ],
)
def test_a_manifest_of_other_types_is_refused(path: tuple[str | int, ...], value: object, counts: Path) -> None:
    tree = json.loads((counts / "counts.json").read_text())
    place = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (counts / "counts.json").write_text(json.dumps(tree))
    with pytest.raises(InputRejected, match=r"not a manifest of counts|expected schema"):
        read_counts(counts).table(1)


@pytest.mark.parametrize(
    "rows",
    [
        {"context": [0, 1], "next": [1, 20], "count": [1, 1]},
        {"context": [0, 20_000_000], "next": [1, 1], "count": [1, 1]},
        {"context": [1, 0], "next": [1, 1], "count": [1, 1]},
        {"context": [0, 1], "next": [1, 1], "count": [2, 0]},
        {"context": [0, 0], "next": [1, 1], "count": [1, 1]},
        {"context": [0, None], "next": [1, 1], "count": [2, 0]},
    ],
)
def test_a_forged_table_is_refused(rows: dict[str, list[int]], counts: Path) -> None:
    """Its checksums agree; its content is no count."""
    schema = {"context": polars.Int64, "next": polars.UInt32, "count": polars.Int64}
    polars.DataFrame(rows, schema=schema).write_parquet(counts / TABLE)
    content = (counts / TABLE).read_bytes()
    tree = json.loads((counts / "counts.json").read_text())
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    tree["tables"][1]["files"][0].update(facts)
    tree["tables"][1]["files"][0]["rows"] = 2
    tree["tables"][1].update(pairs=2, contexts=2, once=2)
    material.signed(counts, tables=tree["tables"])
    with pytest.raises(InputRejected, match=r"holds what is no count|expected the columns"):
        read_counts(counts).table(1)


def test_a_table_that_was_not_counted(counts: Path) -> None:
    with pytest.raises(UsageError, match=r"no table of n = 2, skip 1; there are \(n, skip\): \(0, 0\), \(1, 0\)"):
        read_counts(counts).table(2, 1)


def test_counts_of_another_text(counts: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputRejected, match="counted from 10 texts, 1 were given"):
        read_counts(counts, text=[tmp_path / "a.txt"])
    with pytest.raises(InputRejected, match=r"a.txt: is not the text that .* was counted from \(0.txt\)"):
        read_counts(counts, text=[tmp_path / "a.txt"] * 10)
    with pytest.raises(InputRejected, match=r"b.txt: cannot be read"):
        read_counts(counts, text=[tmp_path / "b.txt"] * 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"vocabulary": 21},
        {"vocabulary": 1 << 40},
        {"n": [64]},
        {"n": [2]},
        {"skips": [0, 1 << 40]},
        {"tokens": 7},
        {"documents": 2},
        {"unknown": 1 << 50},
        {"tables": []},
        {"notes": ["nothing"]},
    ],
)
def test_an_edit_of_the_manifest_shows(changes: dict[str, Any], counts: Path) -> None:
    path = counts / "counts.json"
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({**tree, **changes}))
    with pytest.raises(InputRejected, match="its checksum is not that of its content"):
        read_counts(counts)
    path.write_text(json.dumps(tree))
    if "notes" in changes:
        return
    material.signed(counts, **changes)  # and where the forger has signed it, it contradicts the tables
    with pytest.raises(InputRejected, match=r"not a manifest of counts|expected a vocabulary of 20"):
        read_counts(counts)


@pytest.mark.parametrize("name", ["total", "pairs", "contexts", "once"])
@pytest.mark.parametrize("by", [-1, 1, 1 << 60])
def test_numbers_of_a_table_are_those_of_its_file(name: str, by: int, counts: Path) -> None:
    tables = json.loads((counts / "counts.json").read_text())["tables"]
    tables[1][name] += by
    material.signed(counts, tables=tables)
    with pytest.raises(InputRejected, match=r"not a manifest of counts|holds what is no count"):
        read_counts(counts).table(1)


def test_rows_are_compared_with_the_footer_before_the_table_is_decoded(counts: Path) -> None:
    tables = json.loads((counts / "counts.json").read_text())["tables"]
    pairs = 10**12
    tables[1]["files"][0]["rows"] = tables[1]["pairs"] = pairs
    material.signed(counts, tables=tables)
    with pytest.raises((InputRejected, ResourceLimit)):
        read_counts(counts).table(1)
    tables[1]["files"][0]["rows"] = tables[1]["pairs"] = tables[1]["contexts"]
    material.signed(counts, tables=tables)
    with pytest.raises(InputRejected, match=r"its footer says|not a manifest"):
        read_counts(counts).table(1)


def test_counts_of_an_older_heedful_are_read_with_a_note(counts: Path) -> None:
    path = counts / "counts.json"
    tree = json.loads(path.read_text())
    del tree["seal"]
    path.write_text(json.dumps(tree))
    assert "carries no checksum of its own" in read_counts(counts).manifest.notes[-1]


@pytest.mark.parametrize("name", ["counts.json", "tokenizer.json", TABLE])
def test_links_out_of_the_folder_are_refused(name: str, counts: Path, tmp_path: Path) -> None:
    (counts / name).rename(tmp_path / "elsewhere")
    (counts / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputRejected, match="a symbolic link"):
        read_counts(counts).verify()


def table_of(documents: list[list[int]], n: int, skip: int, vocabulary: int = 12) -> CountTable:
    tokens = Tokens.of(TokenPiece(np.array(document, dtype=np.uint32)) for document in documents)
    return CountTable.of(count_pairs(tokens, n, skip, vocabulary), n, skip, vocabulary)


def test_a_written_out_example() -> None:
    """``a b a b c``: after a comes b twice; after b comes a once and c once."""
    table = table_of([[0, 1, 0, 1, 2]], 1, 0, 3)
    assert table.contexts.tolist() == [[0], [1]]
    assert table.matrix.toarray().tolist() == [[0, 2, 0], [1, 0, 1]]
    assert table.context_counts.tolist() == [2, 2] and table.next_counts.tolist() == [1, 2, 1]
    assert table.conditional().toarray().tolist() == [[0, 1, 0], [0.5, 0, 0.5]]
    assert table.total == 4


@pytest.mark.parametrize(("n", "skip"), [(1, 0), (1, 2), (2, 0), (2, 1), (3, 0)])
def test_expected_attention_comes_out_of_it(n: int, skip: int) -> None:
    documents = material.zipf(20, 30, 12)
    table = table_of(documents, n, skip)
    tokens = documents[3]
    wanted = loops.expected_attention(documents, tokens, n, skip)
    contexts = [tokens[end - n + 1 : end + 1] for end in range(n - 1, len(tokens))]
    rows = table.rows_of(contexts)
    conditional = table.conditional()
    assert len(tokens) > 10 and (rows >= 0).any()
    for end, row in enumerate(rows, n - 1):
        found = np.zeros(end + 1)
        if row >= 0:
            found = conditional[[row]].toarray()[0][tokens[: end + 1]]
            found = found / found.sum() if found.sum() else found
        np.testing.assert_allclose(found, wanted[end], atol=1e-15)


def test_rows_of_contexts() -> None:
    table = table_of([[5, 1, 5, 2], [11, 5]], 1, 0)
    assert table.rows_of([[11], [5], [2], [0]]).tolist() == [2, 1, -1, -1]
    assert table.rows_of([]).tolist() == []
    for wrong in ([[12]], [[-1]]):
        with pytest.raises(UsageError, match=r"token id (12|-1) is outside the vocabulary of 12 tokens"):
            table.rows_of(wrong)
    with pytest.raises(UsageError, match="expected contexts of 1 tokens"):
        table.rows_of([[1, 2]])


def test_nothing_was_observed() -> None:
    table = table_of([[1]], 2, 0)
    assert table.matrix.shape == (0, 12) and table.contexts.shape == (0, 2) and table.total == 0
    assert table.rows_of([[1, 2]]).tolist() == [-1] and table.conditional().shape == (0, 12)
