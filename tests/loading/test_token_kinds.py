import pytest
import torch
from tests.loading import material

from heedful.loading.token_kinds import TokenText, is_punctuation, mark_punctuation, surrounding_tokens


@pytest.mark.parametrize("text", [",", " ...", "\u2014", "##.", "##", "$", "\u00ab\n", "'\""])
def test_punctuation(text: str) -> None:
    assert is_punctuation(text)


@pytest.mark.parametrize("text", ["", " ", "a,", "##s", "\ufffd", "1", "\n"])
def test_no_punctuation(text: str) -> None:
    assert not is_punctuation(text)


def test_marks_have_the_shape_of_the_ids() -> None:
    tokenizer = material.make_tokenizer(before=None)
    ids = torch.tensor([tokenizer("god, earth.").input_ids])
    assert mark_punctuation(ids, TokenText(tokenizer)).tolist() == [[False, True, False, True]]


@pytest.mark.parametrize(("before", "after"), [("<s>", None), (None, "</s>"), ("<s>", "</s>"), (None, None)])
def test_tokens_around_a_text_are_found(before: str | None, after: str | None) -> None:
    tokenizer = material.make_tokenizer(before=before, after=after)
    known = tokenizer.get_vocab()
    assert surrounding_tokens(tokenizer) == ([known[before]] if before else [], [known[after]] if after else [])


def test_bytes_that_are_no_text_are_shown_by_their_name() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(alphabet, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    text = TokenText(tokenizer)
    first, _ = tokenizer("\u00e9").input_ids
    assert text(first) == tokenizer.convert_ids_to_tokens(first)
    assert text(tokenizer(" ").input_ids[0]) == " "
