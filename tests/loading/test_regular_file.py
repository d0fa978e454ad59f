import os
from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading.regular_file import kind_of, open_regular, parse_json, plain_tree, read_json, read_small


def _open(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def test_a_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert _open(tmp_path / "b") == b"abc"
    assert kind_of(tmp_path / "b") == "a regular file"


def test_a_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    material.refused(lambda: _open(tmp_path / "nothing"), 2, "nothing", "found none")
    material.refused(lambda: _open(tmp_path / "a\0b"), 2)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    material.refused(lambda: _open(tmp_path / "pipe"), 3, "named pipe", seconds=1)
    material.refused(lambda: _open(tmp_path / "loop"), 3, "loop of symbolic links")
    material.refused(lambda: _open(tmp_path / "dangling"), 3, "symbolic link to nothing")
    material.refused(lambda: _open(tmp_path), 3, "a directory")
    material.refused(lambda: _open(Path("/dev/zero")), 3, "a device", seconds=1)


def test_no_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").write_bytes(b"")

    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    material.refused(lambda: _open(tmp_path / "locked"), 3, "no permission", "locked")


def test_a_small_file_must_be_small(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 11)
    assert read_small(tmp_path / "a", 11, "a config") == b"x" * 11
    material.refused(lambda: read_small(tmp_path / "a", 10, "a config"), 4, "a config of at most 10 bytes")


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
