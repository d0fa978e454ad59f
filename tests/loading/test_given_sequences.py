from __future__ import annotations

import numpy as np
import pytest
import torch

from heedful.errors import UsageError
from heedful.loading.given_sequences import as_sequences
from heedful.loading.loaded_model import load_model


def test_a_tensor_is_one_document_a_row() -> None:
    ids = torch.arange(12).reshape(3, 4)
    found = as_sequences(ids)
    assert torch.equal(found.input_ids, ids) and found.document.tolist() == [0, 1, 2]
    assert not found.special.any() and found.attention_mask.all()
    assert as_sequences(found) is found
    assert as_sequences(torch.arange(4)).input_ids.shape == (1, 4)


def test_batches_of_a_loader_are_joined_and_padding_is_masked() -> None:
    mask = torch.tensor([[0, 1, 1]])
    batches = [{"input_ids": torch.tensor([[9, 1, 2]]), "attention_mask": mask}, torch.tensor([[3, 4, 5, 6]])]
    found = as_sequences(iter(batches))
    assert found.input_ids.tolist() == [[1, 2, 0, 0], [3, 4, 5, 6]]
    assert found.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert found.special.tolist() == [[False, False, True, True], [False] * 4]


def test_documents_can_be_named() -> None:
    assert as_sequences(torch.zeros(4, 2, dtype=torch.long), documents=[0, 0, 1, 1]).document.tolist() == [0, 0, 1, 1]
    with pytest.raises(UsageError, match=r"expected one for each of 4 sequences, got 1"):
        as_sequences(torch.zeros(4, 2, dtype=torch.long), documents=[0])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (torch.zeros(2, 3), r"a tensor \(2, 3\) of torch.float32"),
        (torch.zeros(1, 2, 3, dtype=torch.long), r"a tensor \(1, 2, 3\)"),
        ([], "at least one sequence"),
        (torch.zeros(2, 0, dtype=torch.long), "at least one sequence"),
        (["text"], "text came without a tokenizer"),
        ({"text": 1}, "got NoneType"),
        (None, "got NoneType"),
        (3, "got int"),
        (torch.tensor([[1, -100]]), "from 0 up, got -100"),
        (np.zeros((2, 3)), r"an array \(2, 3\) of float64"),
        (torch.nn.Linear(1, 1), "got Linear"),
    ],
)
def test_what_is_no_token_ids_is_refused(bad: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        as_sequences(bad)  # type: ignore[arg-type]


def test_numpy_and_lists_are_token_ids() -> None:
    wanted = [[1, 2, 3], [4, 5, 6]]
    for given in (np.array(wanted), np.array(wanted, dtype=np.uint16), wanted, [np.array(row) for row in wanted]):
        assert as_sequences(given).input_ids.tolist() == wanted
    assert as_sequences([1, 2, 3]).input_ids.tolist() == [[1, 2, 3]]
    assert as_sequences([[1, 2, 3], [4]]).attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_tokenizer_reads_text_and_tells_punctuation_among_ids() -> None:
    tokenizer = load_model().tokenizer
    text = ["In the beginning, God created the heaven and the earth. " * 4, "And the earth was without form. " * 4]
    found = as_sequences(text, tokenizer=tokenizer, seq_len=16, sequences=3)
    assert found.input_ids.shape == (3, 16) and {name[:6] for name in found.document_names} == {"text 1", "text 2"}
    again = as_sequences(found.input_ids, tokenizer=tokenizer)
    assert torch.equal(again.punctuation, found.punctuation) and bool(found.punctuation.any())
    assert not as_sequences(found.input_ids).punctuation.any()


def test_a_tokenizer_alone_is_no_sequences() -> None:
    with pytest.raises(UsageError, match="got a tokenizer alone"):
        as_sequences(load_model().tokenizer)  # type: ignore[arg-type]
