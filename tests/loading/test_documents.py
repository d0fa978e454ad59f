import json
from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading import documents
from heedful.loading.documents import load_documents


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_text(name)
    read = load_documents([tmp_path / "a.txt", tmp_path / "b.md"])
    assert read.names == ("a.txt", "b.md") and read.texts == ("a.txt", "b.md")
    assert read.origin == "a.txt, b.md" and read.notes == ()
    assert load_documents([tmp_path / "a.txt"], name="mine").origin == "mine"


def test_a_jsonl_file_is_a_document_a_line(tmp_path: Path) -> None:
    lines = [
        {"id": "gen 1", "text": "one"},
        {"text": "two\r\nthree"},
        {"id": 7, "text": "  "},
        {"id": 8, "text": "four"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    read = load_documents([tmp_path / "a.jsonl"])
    assert read.names == ("gen 1", "a.jsonl:2", "8") and read.texts == ("one", "two\nthree", "four")
    assert read.notes == ("1 blank documents left out",)


@pytest.mark.parametrize(
    ("content", "text", "note"),
    [
        (b"\xef\xbb\xbfa\r\nb\rc\n", "a\nb\nc\n", None),
        ("caf\u00e9 \ufffd".encode(), "caf\u00e9 \ufffd", None),
        (b"caf\xe9 and so on", "caf\ufffd and so on", "1 bytes that are no UTF-8"),
        (b"in the beginning\0", "in the beginning\0", "1 NUL"),
    ],
)
def test_bytes_become_text(content: bytes, text: str, note: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    read = load_documents([tmp_path / "a.txt"])
    assert read.texts == (text,)
    assert (note is None and not read.notes) or note in read.notes[0]


def test_a_character_across_two_chunks_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_CHUNK", 3)
    (tmp_path / "a.txt").write_bytes("aa\u00e9\u20ac\U0001f600\r\nb".encode())
    assert load_documents([tmp_path / "a.txt"]).texts == ("aa\u00e9\u20ac\U0001f600\nb",)


def test_no_more_than_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_BYTES", 10)
    (tmp_path / "a.txt").write_bytes(b"x" * 9 + "\u00e9".encode() * 9)
    read = load_documents([tmp_path / "a.txt"])
    assert read.texts == ("x" * 9,) and "only the first 10 bytes" in read.notes[0]


def test_a_jsonl_file_that_is_cut_loses_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_BYTES", 30)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n')
    assert load_documents([tmp_path / "a.jsonl"]).texts == ("one",)


def test_copies_are_kept_and_told_later(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n' * 3)
    assert load_documents([tmp_path / "a.jsonl"]).notes == ()  # told when they are dropped: test_copies.py


def test_a_lone_surrogate_becomes_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude00"}')
    load_documents([tmp_path / "a.jsonl"]).texts[0].encode("utf-8")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": 1}', "line 1"),
        ("a.jsonl", b'{"text": "a"}\n["text"]', "line 2"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "line 2"),
        ("a.jsonl", b'{"text": "a", "text": "b"}', "stands twice"),
        ("a.txt", b"\xff\xfea\0b\0", "UTF-16 text"),
        ("a.txt", bytes(range(128, 256)) * 9, "no text"),
    ],
)
def test_what_is_no_text_is_refused(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    material.refused(lambda: load_documents([tmp_path / name]), 3, says)


def test_an_empty_list_is_a_usage_error() -> None:
    material.refused(lambda: load_documents([]), 2)
