"""The recipe of the default model on a tiny text, and the folder that it wrote and that ships."""

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

import heedful
from heedful.errors import InputRejected
from heedful.training.default_model import DefaultModelSizes, build_model, main, train_default_model
from heedful.training.held_out_figures import entropy_shares, held_out_loss
from heedful.training.king_james import Chapter, Split, hold_out, parse_chapters, read_king_james
from heedful.training.token_windows import BEGIN, PackedWindows, build_tokenizer, document_windows, encode

SHIPPED = Path(heedful.__file__).parent / "assets" / "default"
PRINTED = """\
Ge1:1 In the beginning God created the heaven and the earth.
Ge1:2 And the earth was without form,  and void.
Ge2:1 Thus the heavens and the earth were finished.
1Jn1:1 That which was from the beginning.
"""
TINY = DefaultModelSizes(hidden=16, layers=2, heads=2, kv_heads=1, intermediate=32, length=16, batch=2, steps=3)


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def shipped() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    return AutoModelForCausalLM.from_pretrained(SHIPPED).eval(), AutoTokenizer.from_pretrained(SHIPPED)


@pytest.fixture(scope="module")
def held_out() -> list[dict[str, str]]:
    return [json.loads(line) for line in (SHIPPED / "held_out.jsonl").read_text(encoding="utf-8").splitlines()]


def chapters(number: int) -> list[Chapter]:
    draw = random.Random(0)
    words = ["and", "the", "king", "of", "israel", "went", "up", "unto", "him", "behold"]
    return [Chapter("Job", i, " ".join(draw.choices(words, k=60))) for i in range(1, number + 1)]


def test_chapters_lose_references_and_double_blanks() -> None:
    parsed = parse_chapters(PRINTED)
    assert [chapter.id for chapter in parsed] == ["Genesis 1", "Genesis 2", "1 John 1"]
    assert parsed[0].text == (
        "In the beginning God created the heaven and the earth.\nAnd the earth was without form, and void."
    )


@pytest.mark.parametrize("printed", ["In the beginning", "Xyz1:1 In the beginning", ""])
def test_a_text_that_is_not_the_programs_is_refused(printed: str) -> None:
    with pytest.raises(InputRejected):
        parse_chapters(printed)


def test_an_absent_program_is_named_with_its_package(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputRejected, match="apt-get install bible-kjv"):
        read_king_james()
    assert main(["--out", str(tmp_path / "out")]) == 3
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "apt-get install bible-kjv" in message
    with pytest.raises(InputRejected, match="no such file"):
        read_king_james(tmp_path / "absent.txt")


def test_one_long_chapter_of_every_book_of_several_is_held_out() -> None:
    books = [Chapter(book, i, "x" * size) for book in "AB" for i, size in enumerate((9, 3000, 4000))]
    books.append(Chapter("C", 1, "x" * 5000))
    split = hold_out(books, seed=1)
    assert [chapter.book for chapter in split.held_out] == ["A", "B"]
    assert all(chapter.bytes >= 2048 for chapter in split.held_out)
    assert sorted(c.id for part in split for c in part) == sorted(c.id for c in books)
    assert hold_out(books, seed=1) == split


def test_windows_begin_with_begin_and_differ_between_epochs() -> None:
    documents = [list(range(10, 60)), list(range(60, 90))]
    windows = PackedWindows(documents, length=8, begin=0, end=1, seed=3)
    first, second = (sorted(w["input_ids"] for w in windows.epoch(number)) for number in (0, 1))
    assert first != second
    assert all(len(window) == 8 and window[0] == 0 and 0 not in window[1:] for window in first)
    tokens = [token for window in first for token in window[1:] if token != 1]
    assert len(tokens) == len(set(tokens)) >= 80 - 2 * 7
    again = itertools.islice(PackedWindows(documents, length=8, begin=0, end=1, seed=3), 5)
    assert list(again) == list(itertools.islice(windows, 5))
    with pytest.raises(ValueError, match="at least"):
        PackedWindows([[5, 6]], length=8, begin=0, end=1)


def test_windows_to_judge_on_cover_each_token_once() -> None:
    windows = document_windows(range(5, 25), length=8, begin=0)
    assert [token for window in windows for token in window[1:]] == list(range(5, 25))
    assert all(window[0] == 0 for window in windows)


def test_tokenizer_sets_begin_and_loses_nothing() -> None:
    tokenizer = build_tokenizer(["and the king said"] * 9, vocabulary=300, length=64)
    text = "  Zoë\tsaid:\n«no» 漢字  "
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids[0]) == BEGIN
    assert tokenizer.decode(ids[1:]) == text
    assert encode(tokenizer, [text]) == [ids[1:]]


def test_three_steps_on_a_tiny_text_write_a_loadable_folder(tmp_path) -> None:
    split = Split(chapters(6), chapters(8)[6:])
    figures = train_default_model(DefaultModelSizes(**{**vars(TINY), "vocabulary": 300}), split, tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    texts = encode(tokenizer, [chapter.text for chapter in split.held_out])
    assert held_out_loss(model.eval(), texts, TINY.length) == pytest.approx(figures.loss, abs=1e-6)
    assert figures.loss == pytest.approx(figures.loss_before_rounding, abs=1e-2)
    assert "5-gram" in (tmp_path / "README.md").read_text(encoding="utf-8")
    for file in tmp_path.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()


def test_entropy_share_of_uniform_attention_is_one() -> None:
    tokenizer = build_tokenizer(["and the king said"] * 9, vocabulary=300, length=64)
    model = build_model(TINY, tokenizer).eval()
    model.set_attn_implementation("eager")
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.q_proj.weight)
    torch.testing.assert_close(entropy_shares(model, [[5] * 40], 16), torch.ones(2, 2, dtype=torch.float64))


def test_shipped_folder_is_small_and_names_no_machine() -> None:
    files = [file for file in SHIPPED.rglob("*") if file.is_file()]
    needed = {"config.json", "model.safetensors", "tokenizer.json", "held_out.jsonl", "README.md"}
    assert needed <= {file.name for file in files}
    assert sum(file.stat().st_size for file in files) < 8e6
    config = (SHIPPED / "config.json").read_text(encoding="utf-8") + (SHIPPED / "tokenizer_config.json").read_text()
    assert re.search(r"/(home|root|tmp|work|Users)\b|_name_or_path", config) is None


def test_shipped_held_out_text_is_enough(held_out) -> None:
    assert len({document["id"] for document in held_out}) == len(held_out) >= 32
    assert all(len(document["text"].encode()) >= 2000 for document in held_out)
    assert 100_000 <= (SHIPPED / "held_out.jsonl").stat().st_size <= 300_000


def test_shipped_model_beats_the_best_ngram_of_its_card(shipped, held_out) -> None:
    model, tokenizer = shipped
    assert model.dtype == torch.float32
    assert model.config.tie_word_embeddings
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    best = min(float(nats) for nats in re.findall(r"\| \d-gram \| ([\d.]+) \|", card))
    texts = encode(tokenizer, [document["text"] for document in held_out[::6]])
    assert held_out_loss(model, texts, DefaultModelSizes.length) < best - 0.05


def test_shipped_attention_is_not_uniform(held_out) -> None:
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, attn_implementation="eager").eval()
    texts = encode(AutoTokenizer.from_pretrained(SHIPPED), [document["text"] for document in held_out[::12]])
    assert entropy_shares(model, texts, DefaultModelSizes.length).mean(-1).min() < 0.7
