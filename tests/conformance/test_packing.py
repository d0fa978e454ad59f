"""The law of packing: what is measured of a document in a pack is what is measured of it alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tests.cases import attention_call, document_ids
from tests.tolerances import flat_moments

from heedful.attention.call import AttentionCall
from heedful.attention.engines.measure import ENGINES
from heedful.attention.engines.moments import Extras
from heedful.attention.visibility import Visibility, bidirectional, causal, documents

ALL = Extras(distances=True, contrast=True)
EXTRAS = {"dense": ALL, "tiled": ALL, "fused": Extras()}


def alone(call: AttentionCall, sequence: int, span: slice, rules: Visibility) -> AttentionCall:
    """One contiguous document of one sequence as a call of its own."""
    cut = {name: getattr(call, name)[sequence : sequence + 1, :, span] for name in ("query", "key", "value")}
    return replace(call, **cut, visibility=rules)


@pytest.mark.parametrize("rules", [causal(), causal(window=5), bidirectional()])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_document_in_a_pack_is_the_document_alone(engine: str, rules: Visibility) -> None:
    labels = document_ids()
    packed = attention_call(rules & documents(labels))
    whole = flat_moments(ENGINES[engine](packed, EXTRAS[engine]))
    for sequence in range(2):
        edges = [0, *(labels[sequence].diff().nonzero()[:, 0] + 1).tolist(), labels.shape[1]]
        for begin, end in pairwise(edges):
            parts = flat_moments(ENGINES[engine](alone(packed, sequence, slice(begin, end), rules), EXTRAS[engine]))
            for name, value in parts.items():
                found = whole[name][sequence : sequence + 1, :, begin:end]
                if name in ("lag_overlap", "distant_overlap"):  # at the end the next row is another document's: 0
                    found = found.masked_fill(value.isnan(), torch.nan)
                torch.testing.assert_close(found, value, rtol=2e-5, atol=2e-6, equal_nan=True, msg=name)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_of_different_documents_share_nothing(engine: str) -> None:
    labels = document_ids()
    rows = ENGINES[engine](attention_call(causal() & documents(labels)), None).rows
    for lag, overlap in ((1, rows.lag_overlap), (10, rows.distant_overlap)):
        apart = labels[:, :-lag] != labels[:, lag:]
        assert (overlap[..., :-lag].movedim(1, -1)[apart] == 0).all()
