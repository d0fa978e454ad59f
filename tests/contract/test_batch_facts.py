from __future__ import annotations

from typing import Any

import pytest
import torch

from heedful.contract.batch_facts import BatchFacts, facts_of, unmarked_padding
from heedful.contract.record import Contract
from heedful.errors import UsageError

IDS = torch.arange(8)[None]


def facts(**more: Any) -> BatchFacts:
    return facts_of({"input_ids": IDS, **more}, Contract())


def labels(**more: Any) -> list[int] | None:
    found = facts(**more).labels
    return None if found is None else found[0].tolist()


def test_documents_begin_where_positions_begin_again() -> None:
    assert labels(position_ids=torch.tensor([[0, 1, 2, 0, 1, 0, 1, 2]])) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert labels(position_ids=torch.arange(8)[None]) is None
    assert labels(position_ids=torch.arange(3, 11)[None]) is None


def test_trailing_zeros_are_padding_and_one_zero_is_a_document() -> None:
    found = facts(position_ids=torch.tensor([[0, 1, 2, 0, 1, 0, 0, 0]]))
    assert found.labels is not None and found.labels[0].tolist() == [0, 0, 0, 1, 1, -1, -1, -1]
    assert "end in zeros" in found.notes[0]
    assert labels(position_ids=torch.tensor([[0, 0, 1, 2, 3, 4, 5, 6]])) == [0, 1, 1, 1, 1, 1, 1, 1]


def test_padded_positions_are_no_documents() -> None:
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    assert labels(attention_mask=mask, position_ids=torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4]])) is None


def test_lengths_labels_and_numbered_masks_name_documents() -> None:
    assert labels(cu_seq_lens_q=torch.tensor([0, 3, 6])) == [0, 0, 0, 1, 1, 1, -1, -1]
    assert labels(seq_idx=torch.tensor([[0, 0, 1, 1, 1, 2, 2, 2]])) == [0, 0, 1, 1, 1, 2, 2, 2]
    assert labels(attention_mask=torch.tensor([[1, 1, 1, 2, 2, 2, 0, 0]])) == [0, 0, 0, 1, 1, 1, -1, -1]


def test_two_sources_that_differ_are_named() -> None:
    found = facts(position_ids=torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]]), cu_seq_lens_q=torch.tensor([0, 4, 8]))
    assert found.labels is None and "position_ids" in found.contradiction and "cu_seq_lens_q" in found.contradiction


def test_documents_of_the_contract_overrule_and_must_fit() -> None:
    batch = {"input_ids": IDS, "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]])}
    found = facts_of(batch, Contract(documents=[[0, 0, 0, 0, 1, 1, 1, 1]]))
    assert found.labels is not None and found.labels[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(UsageError, match="1 rows of 8 tokens"):
        facts_of(batch, Contract(documents=[[0, 1]]))


def test_masks_of_four_axes_are_read_as_what_they_show() -> None:
    shown = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    added = torch.zeros(1, 1, 8, 8).masked_fill(~shown, -1e9)
    for mask in (shown, added):
        found = facts(attention_mask=mask)
        assert found.real is None and torch.equal(found.masks[""], shown)
    found = facts(attention_mask={"full_attention": added, "sliding_attention": shown})
    assert set(found.masks) == {"full_attention", "sliding_attention"}


def test_images_and_prefixes_are_blocks() -> None:
    kinds = torch.tensor([[0, 1, 1, 0, 1, 1, 1, 0]])
    batch = {"input_ids": IDS, "token_type_ids": kinds}
    image = facts_of(batch, Contract(), model_type="gemma3").blocks
    assert image is not None and image[0].tolist() == [-1, 0, 0, -1, 1, 1, 1, -1]
    prefix = facts_of({**batch, "token_type_ids": (IDS > 3).long()}, Contract(), model_type="paligemma").blocks
    assert prefix is not None and prefix[0].tolist() == [0, 0, 0, 0, -1, -1, -1, -1]
    assert facts_of(batch, Contract(), model_type="bert").blocks is None


PADDED = torch.tensor([[0, 0, 5, 6, 7], [5, 6, 7, 0, 0], [5, 6, 7, 8, 0], [5, 0, 0, 6, 7]])


@pytest.mark.parametrize(
    ("pad", "real", "rows"),
    [
        (0, None, 2),  # left and right; one token at an end may be an end of text, and a run inside is text
        (0, torch.ones(4, 5, dtype=torch.bool), 2),
        (0, PADDED != 0, 0),
        (0, (torch.arange(4)[:, None] > 0) | (PADDED != 0), 1),
        (None, None, 0),
        (9, None, 0),
    ],
)
def test_rows_of_pad_tokens_that_nothing_marks_are_told(pad: int | None, real: torch.Tensor | None, rows: int) -> None:
    note = unmarked_padding({"input_ids": PADDED}, pad, real)
    assert bool(note) == bool(rows)
    if rows:
        assert note.startswith(f"{rows} of 4 rows begin or end in pad tokens (id 0)")
        assert ("no attention_mask is given" in note) == (real is None)
    assert unmarked_padding({"inputs_embeds": PADDED}, 0, None) == ""
