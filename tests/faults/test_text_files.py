"""S23, F14, F17: texts that are endless, empty, packed or no text at all."""

import gzip
import os
from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading import documents
from heedful.loading.documents import Documents, load_documents
from heedful.loading.sequences import make_sequences

pytestmark = pytest.mark.fault


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_s23_a_line_of_ten_gigabytes_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_BYTES", 8 << 20)
    with (tmp_path / "long.txt").open("wb") as file:
        file.write(b"god said " * (1 << 20))
        file.truncate(10 << 30)
    before = resident()
    read = load_documents([tmp_path / "long.txt"])
    assert len(read.texts[0]) == 8 << 20 and "only the first 8,388,608 bytes were read" in read.notes[-1]
    batch = make_sequences(read, material.make_tokenizer(), seq_len=16, sequences=8)
    assert batch.input_ids.shape == (8, 16)
    assert resident() - before < 200 << 20


def test_s23_invalid_utf8_is_replaced_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"god created heaven " * 20 + b"\xff\xfe\xc3" + "\ufffd".encode())
    assert "3 bytes that are no UTF-8 were replaced" in load_documents([tmp_path / "a.txt"]).notes[0]


def test_s23_packed_text_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(gzip.compress(bytes(10 << 20)))
    material.refused(lambda: load_documents([tmp_path / "a.txt"]), 3, "compressed", "gunzip", seconds=1)


def test_s23_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    for place, says in (
        (tmp_path / "pipe.txt", "named pipe"),
        (tmp_path / "loop.txt", "loop of symbolic links"),
        (Path("/dev/zero"), "device"),
        (tmp_path, "name its files"),
    ):
        material.refused(lambda place=place: load_documents([place]), 3, says, seconds=1)
    material.refused(lambda: load_documents([tmp_path / "gone.txt"]), 2, "gone.txt")


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"text": "a", "text": "b"}', '{"text": NaN}', "\x1b[2J", '{"text": {}}']
)
def test_s23_hostile_lines_are_refused_by_number(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    material.refused(lambda: load_documents([tmp_path / "a.jsonl"]), 3, "a.jsonl, line 2", seconds=2)


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf", "\u00a0\u2003\n".encode(), b"\0\0"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_f14_blank_text_is_refused_before_any_model_call(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    material.refused(lambda: load_documents([tmp_path / name]), 3, name)


def test_f14_blank_lines_of_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": "  "}\n')
    material.refused(lambda: load_documents([tmp_path / "a.jsonl"]), 3, "nothing but blanks")


def test_f14_text_that_gives_no_token_is_refused() -> None:
    from tokenizers import normalizers

    tokenizer = material.make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("x", "")
    read = Documents(names=("a",), texts=("xxx",), origin="nothing.txt")
    material.refused(lambda: make_sequences(read, tokenizer), 3, "nothing.txt", "no token")


def test_f17_one_token_over_and_over_is_a_batch_like_any_other() -> None:
    read = Documents(names=("a",), texts=("god " * 4000,), origin="x")
    batch = make_sequences(read, material.make_tokenizer(), seq_len=16, sequences=8)
    assert batch.input_ids[:, 1:].unique().numel() == 1 and not batch.special[:, 1:].any()


def test_f17_special_tokens_alone_are_marked_as_such() -> None:
    read = Documents(names=("a",), texts=("</s>" * 4000,), origin="x")
    batch = make_sequences(read, material.make_tokenizer(), seq_len=16, sequences=8)
    assert batch.special.all() and not batch.punctuation.any()


def test_names_of_documents_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.txt").write_text("god")
    (tmp_path / "b.jsonl").write_text('{"id": "\\u001b]0;x\\u0007\\u202e", "text": "god"}')
    read = load_documents(sorted(tmp_path.iterdir()))
    assert all(name.isprintable() for name in read.names) and read.origin.isprintable()
