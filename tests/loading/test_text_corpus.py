import json
from pathlib import Path

import pytest

from heedful.errors import InputRejected, ResourceLimit, UsageError
from heedful.loading import text_corpus
from heedful.loading.text_corpus import TextCorpus, pieces_of

HARD = "\ufeffaé\r\nb\n\nc\rd €uro 😀 x\n\n\nlast" * 40


def documents_of(corpus: TextCorpus) -> list[str]:
    """What the pieces of all shards say the documents are."""
    found: list[str] = []
    for shard in range(len(corpus.shards)):
        for piece in corpus.pieces(shard):
            own = piece.text[piece.first : piece.last]
            if piece.opens:
                found.append(own)
            else:
                before = piece.text[: piece.first]
                assert found[-1].endswith(before) or before.endswith(found[-1])
                found[-1] += own
    return found


@pytest.mark.parametrize("shard_bytes", [1, 7, 64, 10_000])
@pytest.mark.parametrize(("piece", "around"), [(1, 1), (5, 3), (1000, 100)])
def test_a_file_is_one_document_however_it_is_cut(
    shard_bytes: int, piece: int, around: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_corpus, "_PIECE", piece)
    monkeypatch.setattr(text_corpus, "_AROUND", around)
    monkeypatch.setattr(text_corpus, "_REACH", 9)
    for name, text in (("a.txt", HARD), ("b.txt", "  \n"), ("c.txt", "second\r\n")):
        (tmp_path / name).write_bytes(text.encode())
    corpus = TextCorpus([tmp_path / name for name in ("a.txt", "b.txt", "c.txt")], shard_bytes=shard_bytes)
    plain = HARD.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    assert documents_of(corpus) == [plain, "second\n"]
    assert corpus.notes == ["1 blank files left out"]
    assert sum(corpus.shard_bytes) == len(HARD.encode()) - 3 + len(b"second\r\n")


@pytest.mark.parametrize("shard_bytes", [1, 50, 10_000])
@pytest.mark.parametrize("piece", [1, 20, 1000])
def test_lines_paragraphs_and_jsonl(
    shard_bytes: int, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_corpus, "_PIECE", piece)
    texts = [f"document {number} é\nof two lines" for number in range(20)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts) + "\n\n\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("\r\n\r\n\r\n\r\n".join(texts).encode())
    lines = [json.dumps({"text": text}) for text in [*texts, "  "]]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for name in ("a.txt", "b.txt"):
        assert documents_of(TextCorpus([tmp_path / name], "paragraph", shard_bytes)) == texts
    single = TextCorpus([tmp_path / "a.txt"], "line", shard_bytes)
    assert documents_of(single) == "\n".join(texts).split("\n")
    assert documents_of(TextCorpus([tmp_path / "a.jsonl"], shard_bytes=shard_bytes)) == texts
    (tmp_path / "c.txt").write_bytes("\r\n".join(texts).replace("é\n", "é\r\n").encode())
    assert documents_of(TextCorpus([tmp_path / "c.txt"], "line", shard_bytes)) == documents_of(single)
    assert (len(single.shards) > 5) == (shard_bytes < 100)


def test_pieces_hold_text_around_them() -> None:
    text = "".join(chr(97 + number % 26) + ("\n" if number % 7 == 0 else "") for number in range(200))
    pieces = list(pieces_of(text, 20, 10))
    assert "".join(piece.text[piece.first : piece.last] for piece in pieces) == text
    assert [piece.opens for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    for piece in pieces[1:]:
        assert piece.first == 10 or piece.reaches_begin
        while piece.wider is not None:
            wider = piece.wider()
            assert wider.text[wider.first : wider.last] == piece.text[piece.first : piece.last]
            assert wider.first > piece.first
            piece = wider
        assert piece.reaches_begin and text.startswith(piece.text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x1f\x8b packed", "a compressed file"),
        (b"\xff\xfea\0", "UTF-16 text"),
        (b"\x80\x81\x82" * 50 + b"a", "characters are no text"),
        (b"", "nothing but blanks"),
        (b" \n\0", "nothing but blanks"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputRejected, match=says):
        TextCorpus([tmp_path / "a.txt"])


def test_wrong_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo")
    for wrong in ([], [tmp_path / "none.txt"]):
        with pytest.raises(UsageError):
            TextCorpus(wrong)
    with pytest.raises(UsageError, match="expected auto, line or paragraph"):
        TextCorpus([tmp_path / "a.txt"], "page")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--shard-bytes 0"):
        TextCorpus([tmp_path / "a.txt"], shard_bytes=0)
    with pytest.raises(InputRejected, match="found a directory"):
        TextCorpus([tmp_path])
    monkeypatch.setattr(text_corpus, "LONGEST_DOCUMENT", 4)
    (tmp_path / "a.txt").write_text("a\n" + "b" * (3 << 20) + "\nc")
    with pytest.raises(ResourceLimit, match="expected documents of at most 4 bytes"):
        TextCorpus([tmp_path / "a.txt"], "line", 1)


def test_a_line_that_is_no_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": 2}\n')
    with pytest.raises(InputRejected, match=r"a.jsonl, line at byte 16: expected an object"):
        documents_of(TextCorpus([tmp_path / "a.jsonl"]))


def test_bytes_that_are_no_utf8_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 and so on, and so forth, and more\0" * 3)
    notes = TextCorpus([tmp_path / "a.txt"]).notes
    assert [note.partition(": ")[2] for note in notes] == [
        "3 bytes that are no UTF-8 were replaced",
        "3 NUL characters",
    ]


def test_a_text_that_changes_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    corpus = TextCorpus([tmp_path / "a.txt"])
    (tmp_path / "a.txt").write_text("other text")
    with pytest.raises(InputRejected, match="was changed while it was read"):
        list(corpus.pieces(0))
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputRejected, match="was removed while it was read"):
        list(corpus.pieces(0))
