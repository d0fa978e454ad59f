from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from heedful.errors import InputRejected, UsageError
from heedful.loading.text_corpus import pieces_of
from heedful.loading.token_encoder import TokenEncoder, bpe_tokenizer, character_tokenizer, seed_tokenizer
from heedful.loading.tokenizer_files import load_tokenizer

TEXT = "It was the best of times, it was the worst of times;\nit was 1859 \u2014 caf\u00e9 \U0001f600!\n" * 60


def prefixing() -> PreTrainedTokenizerFast:
    """As sentence-piece models are: a mark before the text and in place of blanks, no splitting before the merges."""
    from tokenizers import trainers

    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Metaspace()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False)
    backend.train_from_iterator([TEXT], trainer)
    backend.pre_tokenizer = pre_tokenizers.Sequence([])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


TOKENIZERS = {
    "characters": lambda: character_tokenizer([TEXT]),
    "seed": seed_tokenizer,
    "bpe": lambda: bpe_tokenizer([TEXT], 320),
    "prefixing": prefixing,
}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("size", [7, 100, 10_000])
def test_tokens_of_pieces_are_those_of_the_whole(name: str, size: int) -> None:
    tokenizer = TOKENIZERS[name]()
    whole = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    encoder = TokenEncoder(tokenizer, name)
    found: list[int] = []
    for piece in encoder.encode(pieces_of(TEXT, size, 40), 5):
        own = piece.ids[piece.own :].tolist()
        assert piece.ids[: piece.own].tolist() == found[len(found) - piece.own :]
        assert piece.own == min(5, len(found)) and piece.opens == (not found)
        found += own
    assert found == whole and max(found) < encoder.size


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_saved_tokenizer_is_the_same(name: str, tmp_path: Path) -> None:
    before = TokenEncoder(TOKENIZERS[name](), name)
    before.save(tmp_path)
    loaded, notes = load_tokenizer(tmp_path)
    assert loaded is not None and notes == ()
    after = TokenEncoder(loaded, name)
    assert (after.fingerprint, after.size, after.unknown) == (before.fingerprint, before.size, before.unknown)
    assert loaded.decode(loaded(TEXT, add_special_tokens=False)["input_ids"]) == TEXT or name != "bpe"


def test_the_text_of_a_special_token_is_as_the_tokenizer_has_it() -> None:
    """A table of characters does not know that ``[UNK]`` in a text is one token."""
    tokenizer = character_tokenizer(["a[UNK]b"])
    pieces = TokenEncoder(tokenizer, "x").encode(pieces_of("ab[UNK]b"), 0)
    assert [piece.ids.tolist() for piece in pieces] == [tokenizer("ab[UNK]b")["input_ids"]]
    assert len(tokenizer("ab[UNK]b")["input_ids"]) == 4


def test_learnt_characters() -> None:
    tokenizer = character_tokenizer(["baab", "cb\n"])
    assert tokenizer.get_vocab() == {"[UNK]": 0, "\n": 1, "a": 2, "b": 3, "c": 4}
    few = character_tokenizer(["baab", "cb\n"], 3)
    assert few.get_vocab() == {"[UNK]": 0, "a": 1, "b": 2} and few("cab")["input_ids"] == [0, 1, 2]
    with pytest.raises(UsageError, match="expected 2 or more"):
        character_tokenizer(["a"], 1)


def test_the_fixed_characters() -> None:
    """85 tokens: pad, unknown, begin, end, then letters, digits and marks."""
    tokenizer = seed_tokenizer()
    assert len(tokenizer) == 85
    assert tokenizer("aZ9 \t")["input_ids"] == [4, 55, 65, 66, 84]
    assert tokenizer("\u00e9*")["input_ids"] == [1, 1]
    named = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert named == (0, 1, 2, 3)


def test_bpe_knows_every_byte() -> None:
    tokenizer = bpe_tokenizer([TEXT], 280)
    assert len(tokenizer) == 280 and tokenizer.decode(tokenizer("\u4e2d")["input_ids"]) == "\u4e2d"
    with pytest.raises(UsageError, match="expected 257 or more"):
        bpe_tokenizer([TEXT], 100)


def test_a_tokenizer_without_a_backend_is_refused() -> None:
    class Slow:
        unk_token_id = None

    slow: PreTrainedTokenizerBase = Slow()  # type: ignore[assignment]
    with pytest.raises(InputRejected, match=r"a tokenizer without tokenizer.json"):
        TokenEncoder(slow, "slow")
