from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from heedful.errors import InputRejected, UsageError
from heedful.loading.given_text import documents_of, is_text, is_tokenizer, tokenizer_of
from heedful.loading.token_encoder import seed_tokenizer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "notes.txt"
    place.write_text("what stands in the file")
    return place


def test_strings_are_documents() -> None:
    found = documents_of(["first\r\nline", "second"])
    assert found.texts == ("first\nline", "second") and found.names == ("text 1", "text 2")
    assert documents_of("only one").texts == ("only one",)
    assert documents_of(found) is found


def test_paths_are_files_however_they_are_written(file: Path) -> None:
    for given in (file, str(file), [file], [str(file)], (file,)):
        assert documents_of(given).texts == ("what stands in the file",)


def test_none_is_the_text_that_ships() -> None:
    assert documents_of(None).origin == "embedded held-out text"


def test_text_that_ends_as_a_file_does_is_text_where_it_is_more_than_a_word() -> None:
    assert documents_of("read the file notes.txt").texts == ("read the file notes.txt",)


def test_what_could_mean_both_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.log").write_text("x")
    with pytest.raises(UsageError, match=r"notes\.log: is a file that is there \(give pathlib\.Path"):
        documents_of("notes.log")


def test_blank_strings_are_left_out_and_said() -> None:
    assert documents_of(["a", " ", "a"]).notes == (
        "1 blank document left out",
        "1 documents are exact copies of others",
    )


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (3, UsageError, "expected strings, a list of strings, or paths of text files; got int"),
        (b"text", UsageError, "got bytes"),
        (["a", 3], UsageError, "got a list with int"),
        (["a", Path("b.txt")], UsageError, "expected either strings or paths, got both"),
        ("missing.txt", UsageError, "missing.txt: expected a file or folder, found none"),
        ([], UsageError, "empty list"),
        ([" ", "\0"], InputRejected, "found nothing but blanks"),
    ],
)
def test_what_is_no_text_is_refused(given: object, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        documents_of(given)  # type: ignore[arg-type]


def test_a_tokenizer_comes_in_any_form(tmp_path: Path) -> None:
    plain = seed_tokenizer()
    place = tmp_path / "tokenizer.json"
    place.write_text(plain.backend_tokenizer.to_str() if hasattr(plain, "backend_tokenizer") else plain.to_str())
    bare = Tokenizer.from_file(str(place))
    for given in (plain, bare, place, str(tmp_path)):
        found = tokenizer_of(given)
        assert found is not None and list(found("abc")["input_ids"]) == bare.encode("abc").ids
    assert tokenizer_of(None) is None


@pytest.mark.parametrize(("given", "told"), [(3, "got int"), ("no/such/folder", "found none"), (len, "got builtin")])
def test_what_is_no_tokenizer_is_refused(given: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        tokenizer_of(given)  # type: ignore[arg-type]


def test_text_and_tokenizers_are_told_apart_from_ids() -> None:
    assert is_text("a") and is_text(["a", Path("b")]) and not is_text([1]) and not is_text([])
    assert is_tokenizer(seed_tokenizer()) and not is_tokenizer("a") and not is_tokenizer(print)
