import pytest
import torch
from tests.loading import material

from heedful.loading.documents import Documents
from heedful.loading.sequences import make_sequences


def corpus(count: int = 20, sentences: int = 10) -> Documents:
    texts = tuple(material.make_text(sentences, seed) for seed in range(count))
    return Documents(names=tuple(f"d{i}" for i in range(count)), texts=texts, origin="made here", notes=("a note",))


def test_the_batch_and_what_is_known_of_it() -> None:
    tokenizer = material.make_tokenizer()
    batch = make_sequences(corpus(), tokenizer, seq_len=16, sequences=20)
    assert batch.input_ids.shape == (20, 16) and batch.input_ids.dtype is torch.int64
    assert batch.attention_mask.all() and batch.attention_mask.dtype is torch.int64
    assert (batch.input_ids[:, 0] == tokenizer.bos_token_id).all()
    assert batch.special[:, 0].all() and not batch.special[:, 1:].any()
    assert batch.document.shape == (20,) and len(set(batch.document.tolist())) == 20 == len(batch.document_names)
    assert batch.origin == "made here" and batch.notes == ("a note",)
    comma = tokenizer.convert_tokens_to_ids(",")
    assert torch.equal(batch.punctuation, (batch.input_ids == comma) | (batch.input_ids == comma + 1))
    assert batch.tokens(comma) == "," and len(batch.fingerprint) == 64


def test_tokens_after_the_text_are_set_too() -> None:
    tokenizer = material.make_tokenizer(before="<s>", after="</s>")
    batch = make_sequences(corpus(), tokenizer, seq_len=8, sequences=4)
    assert (batch.input_ids[:, 0] == 1).all() and (batch.input_ids[:, -1] == 2).all()
    assert batch.special.sum(1).tolist() == [2] * 4


def test_the_same_seed_gives_the_same_batch() -> None:
    tokenizer = material.make_tokenizer()
    one, two, three = (make_sequences(corpus(), tokenizer, seq_len=8, sequences=9, seed=seed) for seed in (5, 5, 6))
    assert one.fingerprint == two.fingerprint != three.fingerprint
    assert torch.equal(one.input_ids, two.input_ids)


def test_short_documents_are_padded_on_the_right() -> None:
    documents = Documents(names=("a", "b"), texts=("god created heaven", "light"), origin="x")
    batch = make_sequences(documents, material.make_tokenizer(), seq_len=16, sequences=4)
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.input_ids[1, 2:].tolist() == [3, 3] and batch.special[1].tolist() == [True, False, True, True]
    assert "padded on the right" in batch.notes[-1]


def test_a_length_beyond_training_is_noted_and_one_beyond_positions_refused() -> None:
    tokenizer = material.make_tokenizer()
    batch = make_sequences(corpus(), tokenizer, seq_len=40, sequences=2, trained_positions=32)
    assert "extrapolation: 40 tokens, the model was made for 32" in batch.notes
    assert make_sequences(corpus(), tokenizer, seq_len=32, sequences=2, max_positions=32).input_ids.shape == (2, 32)
    material.refused(lambda: make_sequences(corpus(), tokenizer, seq_len=33, max_positions=32), 2, "32 is the maximum")


def test_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    make_sequences(corpus(), material.make_tokenizer(), seq_len=8, sequences=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("seq_len", "before", "after"), [(1, "<s>", None), (2, "<s>", "</s>")])
def test_a_length_that_holds_no_text_is_refused(seq_len: int, before: str, after: str | None) -> None:
    tokenizer = material.make_tokenizer(before=before, after=after)
    material.refused(lambda: make_sequences(corpus(), tokenizer, seq_len=seq_len), 2, "no room")


def test_a_tokenizer_of_another_language_is_noted() -> None:
    documents = Documents(names=("a",), texts=("the god and the heaven voici un texte " * 50,), origin="x")
    batch = make_sequences(documents, material.make_tokenizer(), seq_len=10, sequences=2)
    assert "unknown to the tokenizer" in batch.notes[-1]


def test_a_text_that_the_tokenizer_does_not_know_is_refused() -> None:
    documents = Documents(names=("a",), texts=("voici un texte " * 50,), origin="x")
    make = lambda: make_sequences(documents, material.make_tokenizer(), seq_len=8, sequences=2)  # noqa: E731
    material.refused(make, 3, "100% of the tokens are unknown", "--tokenizer")
