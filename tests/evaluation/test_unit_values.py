"""What a finding keeps of each document."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from tests.evaluation.checks.planted import random_ids, sequences_of

from heedful.evaluation.study import Study
from heedful.evaluation.unit_values import document_fingerprints, first_unit_values, unit_values


def test_missing_and_infinite_values_are_none() -> None:
    assert unit_values(np.array([1.0, np.nan, np.inf])) == (1.0, None, None)


def test_the_first_sequences_are_put_in_their_documents_places() -> None:
    sequences = replace(sequences_of(random_ids(4, 8)), document=torch.tensor([2, 0, 2, 1]))
    study = Study(torch.nn.Identity(), sequences)
    assert first_unit_values(study, np.array([1.0, 5.0, 3.0])) == (5.0, None, 2.0)


def test_a_fingerprint_is_of_a_documents_own_tokens() -> None:
    ids = random_ids(4, 8)
    sequences = replace(sequences_of(ids), document=torch.tensor([1, 0, 1, 2]))
    names = document_fingerprints(sequences)
    assert len(set(names)) == 3 and all(len(name) == 16 for name in names)
    changed = ids.clone()
    changed[2, 0] += 1
    other = document_fingerprints(replace(sequences, input_ids=changed))
    assert [a == b for a, b in zip(names, other, strict=True)] == [True, False, True]


def test_padding_is_no_part_of_a_document() -> None:
    ids, mask = random_ids(2, 8), torch.ones(2, 8, dtype=torch.int64)
    mask[:, 6:] = 0
    padded = replace(sequences_of(ids), attention_mask=mask)
    other = ids.clone()
    other[:, 6:] = 0
    assert document_fingerprints(padded) == document_fingerprints(replace(padded, input_ids=other))
    assert document_fingerprints(padded) == document_fingerprints(sequences_of(ids[:, :6]))
