from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading.strict_json import parse_json, plain_tree, read_json


def test_plain_json_is_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null, true, "x"]}', "f") == {"a": [1, 2.5, None, True, "x"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"b": {"a": 1, "a": 2}}', "stands twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "not finite"),
        ("[" * 65 + "]" * 65, "64 levels"),
        ("[" * 200_000, "64 levels"),
        ('{"a": ' * 200_000, "64 levels"),
        ('{"a": ' + "9" * 5000 + "}", "expected JSON"),
        ("{'a': 1}", "expected JSON"),
        ("", "expected JSON"),
        (b"\xff\xfe{}", "expected JSON"),
    ],
)
def test_what_strict_json_lacks_is_refused(text: str, says: str) -> None:
    material.refused(lambda: parse_json(text, "f.json"), 3, "f.json", says, seconds=2)


def test_64_levels_are_allowed() -> None:
    parse_json("[" * 64 + "]" * 64, "f")


def test_a_file_must_hold_an_object_and_be_small(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    material.refused(lambda: read_json(tmp_path / "a.json"), 3, "expected a JSON object, found list")
    (tmp_path / "a.json").write_text(" " * (1 << 20) + "{}")
    material.refused(lambda: read_json(tmp_path / "a.json"), 4, "1,048,576 bytes")


@pytest.mark.parametrize("tree", [{1: 2}, {"a": b"x"}, [{"a": {1, 2}}], {"a": float("nan")}])
def test_trees_that_json_cannot_say_are_refused(tree: object) -> None:
    material.refused(lambda: plain_tree(tree, "f"), 3)
