import json
from pathlib import Path

import pytest
from tests.loading import material

from heedful.errors import InputRejected
from heedful.loading.tokenizer_files import load_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    material.make_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_tokenizer_comes_back(folder: Path) -> None:
    for place in (folder, folder / "tokenizer.json"):
        tokenizer, notes = load_tokenizer(place)
        assert tokenizer("heaven and earth").input_ids == material.make_tokenizer()("heaven and earth").input_ids
        assert tokenizer.bos_token == "<s>" and tokenizer.pad_token == "<pad>" and not notes
        assert set(tokenizer.all_special_tokens) == {"<unk>", "<s>", "</s>", "<pad>"}


def test_truncation_and_padding_of_the_file_are_off(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert len(load_tokenizer(folder)[0]("god " * 50).input_ids) == 51


def test_special_tokens_outside_the_vocabulary_are_not_added(folder: Path) -> None:
    material.rewrite(folder / "tokenizer_config.json", pad_token="[PAD]", mask_token={"content": "[MASK]"})
    tokenizer, notes = load_tokenizer(folder)
    assert len(tokenizer) == len(material.make_backend().get_vocab()) and "[MASK], [PAD]" in notes[0]


def test_a_bare_file_has_the_roles_that_its_words_tell(tmp_path: Path) -> None:
    words = {"[UNK]": 0, "[MASK]": 1, "god": 2}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model, "added_tokens": []}))
    tokenizer, _ = load_tokenizer(tmp_path / "tokenizer.json")
    assert (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id) == (1, 0, None)


def test_code_that_a_tokenizer_names_is_not_looked_at(folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(folder / 'marker')!r}, 'w')")
    auto = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    material.rewrite(folder / "tokenizer_config.json", auto_map=auto, tokenizer_class="Evil")
    assert load_tokenizer(folder)[0] is not None
    assert not (folder / "marker").exists()


def test_bare_vocabularies_are_read(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "god", "##s", "."]))
    tokenizer, notes = load_tokenizer(tmp_path)
    assert tokenizer("Gods.").input_ids == [2, 5, 6, 7, 3] and "BertTokenizer" in notes[0]
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    material_config = {"tokenizer_class": "PreTrainedModel", "auto_map": {"AutoTokenizer": "evil.Evil"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(material_config))
    tokenizer, notes = load_tokenizer(tmp_path)
    assert tokenizer("abb").input_ids == [2, 1] and "GPT2Tokenizer" in notes[0]


def test_a_vocabulary_is_named_itself_and_its_capitals_keep_the_case_of_the_text(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "A", "C", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer, notes = load_tokenizer(tmp_path / "vocab.txt")
    assert tokenizer("A C a").input_ids == [2, 5, 6, 7, 3] and "case kept" in notes[0]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    tokenizer, notes = load_tokenizer(tmp_path / "vocab.txt")
    assert tokenizer("A C a").input_ids == [2, 7, 1, 7, 3] and "case kept" not in notes[0]


def test_a_folder_without_one_says_so(tmp_path: Path) -> None:
    assert load_tokenizer(tmp_path) == (None, ("no tokenizer.json, vocab.txt or vocab.json found",))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"model": {"type": "BPE"}}', b'{"version": "9.0"}']
)
def test_malformed_tokenizers_are_refused(content: bytes, folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    material.refused(lambda: load_tokenizer(folder), 3, "not a tokenizer")


@pytest.mark.parametrize("literal", ["", [], {}, 0, ["a"]])
@pytest.mark.parametrize("put", ["b", ["b"], 1])
def test_a_replacement_that_is_no_text_is_refused(literal: object, put: object, folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"String": literal}, "content": put}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(
        InputRejected, match=r"tokenizer.json: not a tokenizer: a replacement (that is no text|of nothing)"
    ):
        load_tokenizer(folder)


def test_malformed_settings_are_refused(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"pad_token": "a", "pad_token": "b"}')
    material.refused(lambda: load_tokenizer(folder), 3, "stands twice")


def test_a_missing_or_other_file_is_a_usage_error(tmp_path: Path) -> None:
    material.refused(lambda: load_tokenizer(tmp_path / "none"), 2)
    (tmp_path / "x.bin").write_bytes(b"")
    material.refused(lambda: load_tokenizer(tmp_path / "x.bin"), 2, "tokenizer.json")
